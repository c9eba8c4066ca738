"""Parquet tables: row ranges inside files, sized by the bytes of the wanted columns.

Planning reads footers only. So a shard's fingerprint is that of the row groups it touches as the
footer describes them (sizes, offsets, counts, statistics), not of their pages.
"""

import hashlib
import signal
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigError
from pipeline.sources.base import (
    FileState,
    Known,
    Limit,
    Piece,
    Row,
    Shard,
    SourceSpec,
    column_id,
    default_id,
    unknown_column,
)
from pipeline.sources.discover import Location
from pipeline.sources.metadata import kept_type
from pipeline.sources.table import Table

BATCH_BYTES = 16 << 20
BATCH_ROWS = 1024
# A dot for each file that was survived; what is wrong otherwise is said when it is read again.
_READ_FOOTERS = """
import sys
import pyarrow.parquet as pq
for path in sys.stdin.read().split(chr(0)):
    try:
        footer = pq.ParquetFile(path).metadata
        for i in range(footer.num_row_groups):
            footer.row_group(i).to_dict()
    except Exception:
        pass
    print(end=".", flush=True)
"""
# Of a footer: what it claims beyond is not allocated.
_LONGEST_STRING, _LONGEST_LIST = 16 << 20, 1_000_000
_TEXTS = (pa.StringScalar, pa.LargeStringScalar, pa.StringViewScalar)


class ParquetTable(Table):
    """Rows of Parquet files; any scalar, bytes or list column is a cell."""

    def __init__(self, spec: SourceSpec, location: Location) -> None:
        super().__init__(spec, location)
        if spec.types:
            raise ConfigError("source.types: a Parquet table has its own types; remove this key")
        with self._open(self._names[0]) as table:
            self._schema = table.schema_arrow
        for name in (*spec.columns, *([spec.id] if spec.id else [])):
            if name not in self._schema.names:
                raise unknown_column(name, self._schema.names, self._names[0])

    def scan(
        self, files: Mapping[str, FileState], known: Known, growing: Iterator[Limit]
    ) -> Iterator[Piece]:
        """One pass over the footers of the files that are new or touched."""
        touched = [name for name, state in files.items() if known.files.get(name) != state]
        _survive([str(self.root / name) for name in touched])
        return super().scan(files, known, growing)

    def schema(self) -> pa.Schema:
        """Scalar columns in the widest type of their family."""
        kept = ((field.name, kept_type(field.type)) for field in self._schema)
        return pa.schema([(name, kind) for name, kind in kept if kind is not None])

    def signature(self) -> dict[str, Any]:
        """All columns with their types."""
        columns = {field.name: str(field.type) for field in self._schema}
        return {"columns": columns, "id": self.spec.id}

    def read(self, shard: Shard, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Rows of the shard, only the wanted columns decoded. Refused if the footer has changed."""
        wanted = list(self._schema.names if columns is None else columns)
        needed = list(dict.fromkeys([*wanted, *([self.spec.id] if self.spec.id else [])]))
        with self._open(shard.file) as table:
            groups = _Groups(table.metadata, self._media(table.metadata))
            if groups.fingerprint(shard.start, shard.rows) != shard.fingerprint:
                raise self._changed(shard)
            done = 0
            for cells in _until_damage(_slice(table, groups, shard, needed)):
                own = default_id(shard.file, shard.start + done)
                key = column_id(cells[self.spec.id]) if self.spec.id else own
                yield Row(key, {name: cells[name] for name in wanted})
                done += 1
            if done < shard.rows:
                # Whoever reads other columns of these rows must get the same ids.
                ids = list(self._ids(table, groups, shard))
                for key in ids[done:]:
                    yield Row(key, {}, "the Parquet page is damaged")

    def _ids(self, table: pq.ParquetFile, groups: "_Groups", shard: Shard) -> Iterator[str]:
        """The ids of a shard as far as their own column can be read, then the default ones."""
        known = 0
        if self.spec.id:
            for cells in _until_damage(_slice(table, groups, shard, [self.spec.id])):
                yield column_id(cells[self.spec.id])
                known += 1
        for lost in range(shard.start + known, shard.start + shard.rows):
            yield default_id(shard.file, lost)

    def _open(self, file: str) -> pq.ParquetFile:
        path = self.root / file
        try:  # buffered: a row group of media is streamed page by page, not read as a whole
            return pq.ParquetFile(
                path,
                buffer_size=1 << 20,
                pre_buffer=False,
                page_checksum_verification=True,
                thrift_string_size_limit=_LONGEST_STRING,
                thrift_container_size_limit=_LONGEST_LIST,
            )
        except Exception as err:  # extension types of other libraries raise anything
            reason = getattr(err, "strerror", None) or "not a valid Parquet file"
            raise ConfigError(f"source.path: can't read {path}: {reason}") from err

    def _cut(self, file: str, limits: Iterator[Limit]) -> Iterator[Piece]:
        with self._open(file) as table:
            if not table.schema_arrow.equals(self._schema):
                raise ConfigError(
                    f"{file} has the columns {_named(table.schema_arrow)}; "
                    f"{self._names[0]} has {_named(self._schema)}; expected the same schema"
                )
            groups = _Groups(table.metadata, self._media(table.metadata))
        start = 0
        while start < groups.rows:
            rows = groups.fit(start, next(limits))
            first = groups.index(start)
            length = groups.bytes(start, rows)
            yield Piece(file, start, rows, first, length, groups.fingerprint(start, rows))
            start += rows

    def _media(self, metadata: pq.FileMetaData) -> set[int]:
        """Leaf columns that count towards a shard's bytes."""
        paths = (metadata.schema.column(i).path for i in range(metadata.num_columns))
        return {i for i, path in enumerate(paths) if path.split(".")[0] in self.spec.columns}


class _Groups:
    """The row groups of one file: where they end, how heavy a row is, what they look like."""

    def __init__(self, metadata: pq.FileMetaData, media: set[int]) -> None:
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        self._metadata = metadata
        self._ends = list(accumulate(group.num_rows for group in groups))
        self._weights = [
            sum(group.column(i).total_uncompressed_size for i in media) / max(group.num_rows, 1)
            for group in groups
        ]
        self.rows = metadata.num_rows

    def index(self, row: int) -> int:
        """The row group that holds a row."""
        return bisect_right(self._ends, row)

    def start(self, group: int) -> int:
        """The first row of a row group."""
        return self._ends[group - 1] if group else 0

    def bytes(self, start: int, rows: int) -> int:
        """Estimated size of the wanted columns of a range, uncompressed."""
        total = 0.0
        for group in range(self.index(start), self.index(start + rows - 1) + 1):
            inside = min(self._ends[group], start + rows) - max(self.start(group), start)
            total += inside * self._weights[group]
        return int(total)

    def fit(self, start: int, limit: Limit) -> int:
        """How many rows from `start` on make one shard.

        It ends with a row group where it can: a group cut in two is decoded twice.
        """
        if limit.bytes is None:
            return min(limit.rows, self.rows - start)
        rows = min(limit.rows, self.rows - start)
        first = self.index(start)
        room = limit.bytes
        for group in range(first, len(self._ends)):
            inside = min(self._ends[group], start + rows) - max(self.start(group), start)
            if inside <= 0:
                break
            fitting = int(room // self._weights[group]) if self._weights[group] else inside
            if fitting < inside:
                rows = max(max(self.start(group), start) - start + fitting, 1)
                break
            room -= int(inside * self._weights[group])
        last = bisect_right(self._ends, start + rows) - 1
        return self._ends[last] - start if last >= first else rows

    def fingerprint(self, start: int, rows: int) -> str:
        """sha256 of the footer's account of the row groups touched, and of the range."""
        digest = hashlib.sha256(f"{start}+{rows}".encode())
        for group in range(self.index(start), self.index(min(start + rows, self.rows) - 1) + 1):
            digest.update(_account(self._metadata.row_group(group)).encode())
        return digest.hexdigest()

    def batch_rows(self, start: int, rows: int) -> int:
        """A batch size that keeps decoded cells near BATCH_BYTES."""
        weight = max(self.bytes(start, rows) // rows, 1)
        return max(1, min(BATCH_ROWS, BATCH_BYTES // weight))


def _account(group: pq.RowGroupMetaData) -> str:
    """What a footer says of a row group.

    The least and the greatest text of a column need not be UTF-8, which pyarrow takes them for (a cell
    that is none is its record's error later on): then all bounds are taken as the bytes that they are.
    """
    try:
        return repr(group.to_dict())
    except UnicodeDecodeError:
        columns = [group.column(i) for i in range(group.num_columns)]
        known = [column.statistics for column in columns]
        bounds = [(s.null_count, s.min_raw, s.max_raw) if s else None for s in known]
        sizes = [(c.data_page_offset, c.num_values, c.total_compressed_size) for c in columns]
        return repr((group.num_rows, sizes, bounds))


def _slice(
    table: pq.ParquetFile, groups: _Groups, shard: Shard, columns: list[str]
) -> Iterator[dict[str, Any]]:
    """The cells of rows start .. start + rows, a batch at a time."""
    end = shard.start + shard.rows
    wanted = range(groups.index(shard.start), groups.index(end - 1) + 1)
    position = groups.start(wanted[0])
    size = groups.batch_rows(shard.start, shard.rows)
    if not columns:
        yield from ({} for _ in range(shard.rows))
        return
    for batch in table.iter_batches(size, row_groups=list(wanted), columns=columns):
        first, last = max(shard.start - position, 0), min(end - position, len(batch))
        position += len(batch)
        if first < last:
            part = batch.slice(first, last - first)
            for cells in zip(*(_values(part[name]) for name in columns), strict=True):
                yield dict(zip(columns, map(_cell, cells), strict=True))
        if position >= end:
            return


def _survive(paths: Sequence[str]) -> None:
    """Read footers in another process first: pyarrow ends its own on some that are damaged.

    Raises:
        ConfigError: that process died; the message names the file.
    """
    if not paths:
        return
    done = subprocess.run(
        [sys.executable, "-c", _READ_FOOTERS],
        input="\0".join(paths), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode < 0:
        path = paths[len(done.stdout)]
        how = signal.Signals(-done.returncode).name
        raise ConfigError(f"source.path: can't read {path}: its footer ends pyarrow with {how}")


def _until_damage(cells: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows up to the first that a damaged page is needed for."""
    try:
        yield from cells
    except (pa.ArrowInvalid, OSError) as err:
        if isinstance(err, OSError) and err.errno:
            raise  # the disk, not the file


def _values(column: pa.Array) -> list[Any]:
    """Cells as Python values; a text that is no UTF-8 stays bytes, and costs only its own row."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes() if isinstance(scalar, _TEXTS) else b"\xff"


def _cell(value: Any) -> Any:
    """A Hugging Face medium is {bytes, path}: the bytes, or else the path."""
    if isinstance(value, dict) and value.keys() == {"bytes", "path"}:
        return value["path"] if value["bytes"] is None else value["bytes"]
    return value


def _named(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
