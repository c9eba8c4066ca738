"""Which part of the data each record belongs to: RUN/split/, derived from records/ shard by shard.

By hash, so that a record keeps its part when others are appended, edited or removed.
"""

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schemas
from pipeline.config import SplitConfig
from pipeline.errors import ConfigError

_NAMES = {name: name for name in ("train", "valid", "test")} | {
    "val": "valid",
    "validation": "valid",
}


def parts_of(records: pa.Table, split: SplitConfig) -> pa.Array:
    """ "train", "valid" or "test" for every row of a records table; null where its column is empty.

    Raises:
        ConfigError: there is no such column, or it holds another word.
    """
    if split.column:
        return _by_column(column_of(records, split.column, "split.column"), split.column)
    ids = records["record_id"].to_pylist()
    keys = ids
    if split.group:
        groups = column_of(records, split.group, "split.group").to_pylist()
        keys = [
            i if group is None else f"group {group}" for i, group in zip(ids, groups, strict=True)
        ]
    return pa.array([_part(key, split) for key in keys], pa.string())


def derive(records: pa.Table, split: SplitConfig, labels: pa.Array | None) -> pa.Table:
    """The split/ table of one shard: record_id, part, and label where there are any.

    labels: one value per row.
    """
    columns: dict[str, Any] = {
        "record_id": records["record_id"].combine_chunks(),
        "part": parts_of(records, split),
    }
    if labels is not None:
        columns["label"] = labels
    return pa.table(columns)


def column_of(records: pa.Table, column: str, key: str) -> pa.Array:
    """A column that the source has, as records/ calls it.

    Raises:
        ConfigError: there is none.
    """
    name = f"source_{column}" if column in schemas.RECORD_COLUMNS else column
    if name not in records.column_names:
        known = [
            n.removeprefix("source_") for n in records.column_names[len(schemas.RECORD_COLUMNS) :]
        ]
        raise ConfigError(
            f"{key}: the source has no column {column!r} of plain values; "
            f"there are: {', '.join(known) or 'none'}"
        )
    return records[name].combine_chunks()


def _by_column(cells: pa.Array, name: str) -> pa.Array:
    words = pc.utf8_lower(pc.utf8_trim_whitespace(cells.cast(pa.string()))).to_pylist()
    for word in words:
        if word and word not in _NAMES:
            raise ConfigError(f"split.column: {name} holds {word!r}; expected train, valid or test")
    return pa.array([_NAMES[word] if word else None for word in words], pa.string())


def _part(key: str, split: SplitConfig) -> str:
    digest = hashlib.blake2b(f"{split.seed} {key}".encode(), digest_size=8).digest()
    chance = int.from_bytes(digest, "big") / 2**64
    if chance < split.test:
        return "test"
    return "valid" if chance < split.test + split.valid else "train"
