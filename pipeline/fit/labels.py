"""Labels: where they come from, what kind they are, and as the numbers a loss takes.

A record without a label, or with an empty one, is unlabelled: no error, it only doesn't count.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from encoders.failures import first_line
from pipeline.config import LabelConfig
from pipeline.errors import ConfigError
from pipeline.fit.split import column_of

_FEW = 100  # different whole numbers that are taken for names of classes


@dataclass(frozen=True)
class Labels:
    """task: classify, regress or multilabel. classes: their names, sorted; none for numbers."""

    task: str
    classes: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Numbers that a prediction has."""
        return len(self.classes) or 1

    def options(self, options: type) -> dict[str, int]:
        """Those options of a component that follow from the labels."""
        names = {field.name for field in dataclasses.fields(options)}
        return {name: self.outputs for name in ("classes", "outputs") if name in names}

    def known(self, column: pa.Array) -> np.ndarray:
        """(N,) bool: which rows have a label that can be learned from."""
        targets = self.encode(column)
        if self.task == "classify":
            return (targets >= 0).numpy()
        return (~targets.isnan()).any(dim=1).numpy()

    def encode(self, column: pa.Array) -> Tensor:
        """(N,) class numbers, -1 unlabelled; or (N, outputs) numbers, NaN unknown."""
        if self.task == "regress":
            return torch.tensor(_numbers(column))[:, None]
        if self.task == "classify":
            numbers = [self._number.get(name, -1) for name in _names(column)]
            return torch.tensor(numbers, dtype=torch.long)
        targets = torch.zeros(len(column), len(self.classes))
        for row, names in enumerate(_lists(column)):
            if names is None:
                targets[row] = float("nan")
            for name in names or ():
                if name in self._number:
                    targets[row, self._number[name]] = 1.0
        return targets

    @cached_property
    def _number(self) -> Mapping[str | None, int]:
        return {name: number for number, name in enumerate(self.classes)}


def settle(config: LabelConfig, columns: Iterable[pa.Array]) -> Labels:
    """The task, where it is `auto`, and the classes, from all labels there are.

    Words, booleans and a few different whole numbers are classes, other numbers are numbers, lists
    are several classes at once.

    Raises:
        ConfigError: no labels at all, fewer than two classes, or no numbers where they are wanted.
    """
    task: str = config.task
    kind, seen = pa.null(), set[Any]()
    for column in columns:
        kind = column.type if len(column) else kind
        if task == "regress":
            _numbers(column)
            seen.add(0.0)
            continue
        if task == "auto":
            task = _obvious(column.type)
        if task != "regress":
            values = _lists(column) if task == "multilabel" else [_names(column)]
            seen.update(name for names in values for name in names or () if name is not None)
        if task == "auto" and len(seen) > _FEW:
            task = "regress"
    if not seen:
        raise ConfigError(f"label.column: no record has a value in {config.column!r}")
    if task == "regress":
        return Labels("regress")
    classes = tuple(sorted(seen, key=int if pa.types.is_integer(kind) else None))
    if len(classes) < 2:
        raise ConfigError(
            f"label.column: expected at least two classes in {config.column!r}, got {classes}"
        )
    return Labels("classify" if task == "auto" else task, classes)


def values_of(records: pa.Table, config: LabelConfig, file: pa.Table | None) -> pa.Array:
    """The raw label of every record of a shard, null where there is none."""
    if file is None:
        return column_of(records, config.column, "label.column")
    rows = pc.index_in(records["record_id"].combine_chunks(), value_set=file["id"])
    return file["label"].combine_chunks().take(rows)


def read_file(config: LabelConfig, default_id: str | None) -> pa.Table:
    """The label file as columns `id` (string) and `label`.

    Raises:
        ConfigError: it can't be read, lacks a column, or an id occurs twice.
    """
    path = Path(str(config.file))
    id_column = config.id or default_id
    if id_column is None:
        raise ConfigError(f"label.id: which column of {path} holds the record_id? Name it here")
    try:
        table = _read(path)
    except (OSError, pa.ArrowException) as err:
        raise ConfigError(f"label.file: can't read {path}: {first_line(err)}") from err
    for key, name in (("label.column", config.column), ("label.id", id_column)):
        if name not in table.column_names:
            known = ", ".join(table.column_names)
            raise ConfigError(f"{key}: {path} has no column {name!r}; there are: {known}")
    ids = table[id_column].combine_chunks().cast(pa.string())
    found = pa.table({"id": ids, "label": table[config.column].combine_chunks()})
    found = found.filter(ids.is_valid())
    if pc.count_distinct(found["id"]).as_py() < len(found):
        raise ConfigError(f"label.id: an id occurs twice in {path}; expected one label per record")
    return found


def _read(path: Path) -> pa.Table:
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        delimiter = "," if suffix == ".csv" else "\t"
        parsing = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        return pyarrow.csv.read_csv(path, parse_options=parsing)
    if suffix == ".jsonl":
        return pyarrow.json.read_json(path)
    if suffix == ".parquet":
        return pyarrow.parquet.read_table(path)
    raise ConfigError(f"label.file: expected .csv, .tsv, .jsonl or .parquet, got {path}")


def _obvious(kind: pa.DataType) -> str:
    """What the type of a column says; "auto" where its values must."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "multilabel"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "regress"
    return "auto" if pa.types.is_integer(kind) or pa.types.is_null(kind) else "classify"


def _names(column: pa.Array) -> list[str | None]:
    if pa.types.is_nested(column.type):
        raise ConfigError("label.task: classify needs one class per record, these are lists")
    return [name or None for name in column.cast(pa.string()).to_pylist()]


def _numbers(column: pa.Array) -> np.ndarray:
    if pa.types.is_string(column.type):
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    try:
        numbers = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as err:
        raise ConfigError(f"label.task: regress needs numbers: {first_line(err)}") from err
    return np.array(numbers, np.float32)  # null -> NaN


def _lists(column: pa.Array) -> list[list[str] | None]:
    """Lists as they are; in a column of text each cell is a JSON list, or one name."""
    rows = column.to_pylist()
    if pa.types.is_string(column.type):
        rows = [_parsed(cell) for cell in rows]
    return [None if row is None else [str(name) for name in row] for row in rows]


def _parsed(cell: str | None) -> list[Any] | None:
    if not cell:
        return None
    if not cell.startswith("["):
        return [cell]
    try:
        return json.loads(cell)
    except ValueError as err:
        raise ConfigError(
            f"label.column: expected a JSON list of names, got {cell[:60]!r}"
        ) from err
