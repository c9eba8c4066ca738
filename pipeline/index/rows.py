"""rows.parquet: which record every index id is, and what can be filtered by.

Columns: id, record_id, part, row, indexed (has an entry), outcome, present, and the source's scalar
columns in a struct called metadata, so that a source column may be called `id` or `row`. The rows
are in the order of the parts; ids are kept from one version of an index to the next, and the id of a
record that is gone is never given again.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import intact
from pipeline.errors import ConfigError, PolyfuseError
from pipeline.files import FORMAT
from pipeline.schemas import RECORD_COLUMNS
from pipeline.store import Part

_GROUP = 4096  # rows per row group: a search reads the groups of its ten results
_KEPT = 256 * 2**20  # bytes of row groups that have been read and stay in memory


class IdBinding:
    """record_id -> index id, append-only: known records keep theirs, new ones get the next."""

    def __init__(self, earlier: "Rows | None") -> None:
        self.next_id = earlier.next_id if earlier else 0
        self._known = earlier.record_ids if earlier else pa.array([], pa.string())
        self._ids = earlier.ids if earlier else np.empty(0, np.int64)

    def assign(self, record_ids: pa.Array) -> np.ndarray:
        """Ids for one part's records, (n,) int64."""
        place = pc.index_in(record_ids, value_set=self._known).fill_null(-1).to_numpy()
        ids = np.empty(len(record_ids), np.int64)
        known = place >= 0
        ids[known] = self._ids[place[known]]
        fresh = int((~known).sum())
        ids[~known] = np.arange(self.next_id, self.next_id + fresh)
        self.next_id += fresh
        return ids


def write_rows(
    path: Path, records: Sequence[Part], indexed: Iterable[np.ndarray], binding: IdBinding
) -> np.ndarray:
    """Stream records/ into rows.parquet; `indexed` has one (n,) bool array per part.

    Returns:
        (N,) int64: the id of every row, in the order of the parts.
    """
    writer, assigned, seen = None, [], []
    try:
        for part, mask in zip(records, indexed, strict=True):
            table = intact.read(part.path, rows=part.rows)
            ids = binding.assign(table["record_id"].combine_chunks())
            rows = _rows(table, part.number, ids, mask)
            if writer is None:
                options: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["outcome"]}
                options |= {"write_page_checksum": True}
                writer = pq.ParquetWriter(path, rows.schema, **options)
            writer.write_table(rows.cast(writer.schema), row_group_size=_GROUP)
            assigned.append(ids)
            seen.append(table["record_id"].combine_chunks())
    finally:
        if writer is not None:
            writer.close()
    _refuse_duplicates(pa.chunked_array(seen, pa.string()))
    return np.concatenate(assigned)


def _rows(table: pa.Table, number: int, ids: np.ndarray, indexed: np.ndarray) -> pa.Table:
    columns = {
        "id": pa.array(ids),
        "record_id": table["record_id"],
        "part": pa.array(np.full(len(ids), number, np.int64)),
        "row": pa.array(np.arange(len(ids))),
        "indexed": pa.array(indexed),
        "outcome": table["outcome"],
        "present": table["present"],
    }
    scalar = [
        field.name
        for field in table.schema
        if field.name not in RECORD_COLUMNS and not pa.types.is_nested(field.type)
    ]
    if scalar:
        arrays = [table[name].combine_chunks() for name in scalar]
        columns["metadata"] = pa.StructArray.from_arrays(arrays, names=scalar)
    return pa.table(columns).replace_schema_metadata({"format": str(FORMAT)})


def _refuse_duplicates(record_ids: pa.ChunkedArray) -> None:
    if pc.count_distinct(record_ids).as_py() < len(record_ids):
        counts = pc.value_counts(record_ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"]
        raise PolyfuseError(
            f"record_id {twice.as_py()!r} occurs more than once in records/, so an index can't be "
            "bound to it: `polyfuse verify RUN` says where"
        )


class Rows:
    """An opened rows.parquet. Columns are read when first needed; a position is a row of the file."""

    def __init__(self, path: Path, next_id: int) -> None:
        self.path = path
        self.next_id = next_id
        with intact.sound(path):
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        groups = [self._file.metadata.row_group(i) for i in range(self._file.num_row_groups)]
        self._starts = np.cumsum([0, *(group.num_rows for group in groups)])
        largest = max((group.total_byte_size for group in groups), default=1)
        self._group = lru_cache(maxsize=max(1, _KEPT // largest))(self._read_group)

    @cached_property
    def ids(self) -> np.ndarray:
        """(N,) int64, by position."""
        return self._column("id").to_numpy()

    @cached_property
    def indexed(self) -> np.ndarray:
        """(N,) bool, by position."""
        return self._column("indexed").to_numpy()

    @cached_property
    def record_ids(self) -> pa.Array:
        """(N,) strings, by position."""
        return self._column("record_id").combine_chunks()

    @cached_property
    def _position_of(self) -> np.ndarray:
        positions = np.full(self.next_id, -1, np.int64)
        positions[self.ids] = np.arange(len(self.ids))
        return positions

    @cached_property
    def _names(self) -> np.ndarray:
        """(N,) str objects, by position: to take ten out of Arrow's takes longer than to find them."""
        return self.record_ids.to_numpy(zero_copy_only=False)

    @cached_property
    def metadata_schema(self) -> pa.Schema:
        """What a filter may name: record_id, outcome and the source's columns."""
        return self._filterable.schema

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Index ids -> rows of this file, which are also positions over the parts."""
        return self._position_of[ids]

    def id_of(self, record_id: str) -> int | None:
        """The id of a record, or None."""
        place = pc.index(self.record_ids, pa.scalar(record_id, pa.string())).as_py()
        return None if place < 0 else int(self.ids[place])

    def describe(self, ids: np.ndarray) -> Iterator[tuple[str, dict[str, Any]]]:
        """(record_id, metadata) of each id; reads only the row groups they are in."""
        positions = self.positions(np.asarray(ids))
        groups = np.searchsorted(self._starts, positions, side="right") - 1
        rows = positions - self._starts[groups]
        for group, row in zip(groups.tolist(), rows.tolist(), strict=True):
            record_ids, metadata = self._group(group)
            yield record_ids[row].as_py(), {} if metadata is None else metadata[row].as_py()

    def names(self, ids: np.ndarray) -> list[Any]:
        """Index ids of any shape -> their record_ids, in lists of that shape; keeps all in memory."""
        return self._names[self.positions(ids)].tolist()

    def present(self, features: Iterable[str]) -> np.ndarray:
        """(next_id,) bool by id: the record has at least one of these features."""
        column = self._presence
        hit = pc.is_in(pc.list_flatten(column), value_set=pa.array(list(features), pa.string()))
        parents = pc.list_parent_indices(column).to_numpy()[hit.to_numpy(zero_copy_only=False)]
        mask = np.zeros(self.next_id, bool)
        mask[self.ids[parents]] = True
        return mask

    def matching(self, expression: pc.Expression) -> np.ndarray:
        """(next_id,) bool by id: the records that pass a filter; a null comparison does not pass."""
        table = self._filterable
        numbered = table.append_column(_POSITION, pa.array(np.arange(len(table))))
        try:
            passed = numbered.filter(expression)[_POSITION].to_numpy()
        except pa.ArrowException as err:
            names = ", ".join(table.schema.names)
            raise ConfigError(
                f"where: {' '.join(str(err).split())[:200]}; the columns are: {names}"
            ) from err
        mask = np.zeros(self.next_id, bool)
        mask[self.ids[passed]] = True
        return mask

    @cached_property
    def _presence(self) -> pa.Array:
        return self._column("present").combine_chunks()

    @cached_property
    def _filterable(self) -> pa.Table:
        wanted = ["record_id", "outcome"]
        wanted += ["metadata"] if "metadata" in self._file.schema_arrow.names else []
        with intact.sound(self.path):
            table = self._file.read(columns=wanted).flatten()
        return table.rename_columns([name.removeprefix("metadata.") for name in table.column_names])

    def _read_group(self, group: int) -> tuple[pa.Array, pa.Array | None]:
        """record_id and metadata of a row group."""
        wanted = [
            name for name in ("record_id", "metadata") if name in self._file.schema_arrow.names
        ]
        with intact.sound(self.path):
            table = self._file.read_row_group(group, columns=wanted).combine_chunks()
        arrays = [table[name].chunk(0) for name in wanted]
        return arrays[0], arrays[1] if len(arrays) > 1 else None

    def _column(self, name: str) -> pa.ChunkedArray:
        with intact.sound(self.path):
            return self._file.read(columns=[name])[name]


_POSITION = "__position__"
