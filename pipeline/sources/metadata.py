"""The scalar columns that `records/` keeps: their types, and a record's values in those types."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.sources.base import Member, Row

DECLARED = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


class Metadata(NamedTuple):
    """values: one per column of the schema; problems: a sentence for each cell that didn't fit."""

    values: dict[str, Any]
    problems: list[str]


def row_metadata(schema: pa.Schema, row: Row) -> Metadata:
    """A row's cells as values of the kept columns; what doesn't convert is null and explained."""
    values: dict[str, Any] = dict.fromkeys(schema.names)
    problems = []
    for field in schema:
        cell = row.cells.get(field.name)
        try:
            values[field.name] = convert(cell, field.type)
        except (ValueError, TypeError, OverflowError):
            shown = repr(cell) if len(repr(cell)) <= 60 else repr(cell)[:57] + "..."
            problems.append(f"column {field.name}: {shown} is not {field.type}")
    return Metadata(values, problems)


def convert(cell: Any, kind: pa.DataType) -> Any:
    """One cell as a Python value of a kept type.

    Bytes become their length and a tar member its name.

    Raises:
        ValueError, TypeError, OverflowError: it doesn't convert.
    """
    if cell is None:
        return None
    if isinstance(cell, Member):
        cell = cell.name
    if pa.types.is_integer(kind):
        return _integer(len(cell) if isinstance(cell, bytes) else cell)
    if pa.types.is_floating(kind):
        return float(cell)
    if pa.types.is_boolean(kind):
        return _boolean(cell)
    if pa.types.is_string(kind):
        return _text(cell)
    return cell  # dates and times come only from Parquet, which has them in their type


def _integer(cell: Any) -> int:
    value = int(cell)
    if value != cell and not isinstance(cell, str):
        raise ValueError("not a whole number")
    if not -(2**63) <= value < 2**63:
        raise OverflowError("more than 64 bits")
    return value


def _boolean(cell: Any) -> bool:
    if isinstance(cell, bool):
        return cell
    if str(cell).strip().lower() not in _BOOLS:
        raise ValueError("neither true nor false")
    return _BOOLS[str(cell).strip().lower()]


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return cell.decode()
    return json.dumps(cell) if isinstance(cell, bool | int | float) else _refuse(cell)


def _refuse(cell: Any) -> Any:
    raise TypeError(f"{type(cell).__name__} is no scalar")


def infer(records: Iterable[Mapping[str, Any]]) -> dict[str, pa.DataType]:
    """Types of the scalar keys of sample JSON objects, in order of appearance.

    int and float make float, any other mixture string; lists and objects are left out.
    """
    seen: dict[str, set[type]] = {}
    for record in records:
        for name, value in record.items():
            if value is not None:
                seen.setdefault(name, set()).add(type(value))
    return {name: _joined(kinds) for name, kinds in seen.items() if not kinds & {list, dict}}


def _joined(kinds: set[type]) -> pa.DataType:
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else pa.string()


def kept_type(kind: pa.DataType) -> pa.DataType | None:
    """The type under which a Parquet column is kept; None: it isn't (lists, structs, times)."""
    if pa.types.is_dictionary(kind):
        return kept_type(kind.value_type)
    if is_bytes(kind):
        return pa.int64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_date(kind):
        return pa.date32()
    return kind if pa.types.is_boolean(kind) else None


def is_bytes(kind: pa.DataType) -> bool:
    """Whether cells are encoded media: binary, or the {bytes, path} struct of Hugging Face sets."""
    if pa.types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)
