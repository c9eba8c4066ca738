"""CSV, TSV and JSON-lines tables: byte ranges of UTF-8 text, one record a row.

Cells of CSV and TSV are strings (an empty one is absent); JSON lines have JSON's own types. The
digest of a shard is checked again while it is read, so a job never mixes two states of a file.
"""

import csv
import json
import mmap
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.sources.base import (
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
from pipeline.sources.metadata import DECLARED, infer
from pipeline.sources.rows import Lines, RangeDigest, cut_rows, is_blank, parse_fields
from pipeline.sources.table import Table, open_file

SAMPLE = 1000
_BOM = b"\xef\xbb\xbf"


class TextTable(Table):
    """What CSV and JSON lines share: files cut into byte ranges, rows counted in each file."""

    delimiter: str | None = None

    def read(self, shard: Shard, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Rows of the shard's byte range. Refused when they are not what was planned."""
        digest = RangeDigest()
        count = 0
        key = self.spec.id
        needed = None if columns is None else {*columns, *([key] if key else [])}
        with open_file(self.root, shard.file) as stream:
            names = self._header(stream, shard.file)
            stream.seek(shard.offset)
            lines = Lines(_range(stream, shard.length, digest))
            for values, problem in self._rows(lines, names, needed):
                if lines.invalid:
                    values, problem = {}, "the row is not valid UTF-8"
                    lines.invalid = False
                if problem or key is None:
                    record_id = default_id(shard.file, shard.start + count)
                else:
                    record_id = column_id(values.get(key))
                if columns is not None and not problem:
                    values = {name: values.get(name) for name in columns}
                yield Row(record_id, values, problem)
                count += 1
        if count != shard.rows or digest.hexdigest() != shard.fingerprint:
            raise self._changed(shard)

    def _cut(self, file: str, limits: Iterator[Limit]) -> Iterator[Piece]:
        with open_file(self.root, file) as stream:
            self._header(stream, file)
            yield from cut_rows(stream, file, self.delimiter, limits)

    def _header(self, stream: BinaryIO, file: str) -> list[str]:
        """Move the stream to the first row; the column names, where the file has them."""
        mark = stream.read(3)
        if mark[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ConfigError(
                f"{file} is UTF-16; expected UTF-8 (convert it, for example with iconv)"
            )
        stream.seek(len(_BOM) if mark == _BOM else 0)
        return []

    def _rows(
        self, lines: Lines, names: list[str], wanted: set[str] | None
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        """(cells, problem) of each row; cells of other columns than the wanted may be left out."""
        raise NotImplementedError


class DelimitedTable(TextTable):
    """CSV (RFC 4180) and TSV with a header, quoted where needed."""

    def __init__(self, spec: SourceSpec, location: Location) -> None:
        super().__init__(spec, location)
        self.delimiter = "\t" if location.kind == ".tsv" else ","
        with open_file(self.root, self._names[0]) as stream:
            self.columns = self._header(stream, self._names[0])
        for name in (*spec.columns, *spec.types, *([spec.id] if spec.id else [])):
            if name not in self.columns:
                raise unknown_column(name, self.columns, self._names[0])

    def schema(self) -> pa.Schema:
        """Strings, unless the configuration types a column."""
        types = self.spec.types
        return pa.schema([(name, DECLARED[types.get(name, "string")]) for name in self.columns])

    def signature(self) -> dict[str, Any]:
        """The header and what the configuration says about it."""
        return {"columns": self.columns, "id": self.spec.id, "types": dict(self.spec.types)}

    def _cut(self, file: str, limits: Iterator[Limit]) -> Iterator[Piece]:
        with open_file(self.root, file) as stream:
            columns = self._header(stream, file)
        if columns != self.columns:
            raise ConfigError(
                f"{file} has the columns {', '.join(columns)}; "
                f"{self._names[0]} has {', '.join(self.columns)}; expected the same header"
            )
        yield from super()._cut(file, limits)

    def _header(self, stream: BinaryIO, file: str) -> list[str]:
        super()._header(stream, file)
        begin = stream.tell()
        lines = Lines(stream)
        names = next(parse_fields(lines, str(self.delimiter)), None)
        if names is None:
            raise ConfigError(f"{file} is empty; expected a header line and rows")
        if isinstance(names, csv.Error) or lines.invalid:
            reason = "it is not valid UTF-8" if lines.invalid else names
            raise ConfigError(f"{file}: can't read the header line: {reason}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"{file}: the header names {twice[0]!r} twice; rename one of them")
        stream.seek(begin + lines.position)
        return names

    def _rows(
        self, lines: Lines, names: list[str], wanted: set[str] | None
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        picks = [(i, name) for i, name in enumerate(names) if wanted is None or name in wanted]
        for fields in parse_fields(lines, str(self.delimiter)):
            if isinstance(fields, csv.Error):
                yield {}, f"not valid CSV: {fields}"
            elif len(fields) != len(names):
                yield {}, f"{len(fields)} fields where the header has {len(names)}"
            else:
                yield {name: fields[i] or None for i, name in picks}, None


class JsonLines(TextTable):
    """One JSON object a line. The first rows tell the kept columns; `types` may add some."""

    def __init__(self, spec: SourceSpec, location: Location) -> None:
        super().__init__(spec, location)
        self._sampled: list[dict[str, Any]] | None = None
        for name in (*spec.columns, *([spec.id] if spec.id else [])):
            if not any(name in row for row in self._sample()) and not self._mentions(name):
                present = {key for row in self._sample() for key in row}
                raise unknown_column(name, present, self._names[0])

    def schema(self) -> pa.Schema:
        """Scalar keys of the first rows; typed ones as declared, wherever they first appear."""
        types = infer(self._sample())
        types |= {name: DECLARED[kind] for name, kind in self.spec.types.items()}
        return pa.schema(list(types.items()))

    def signature(self) -> dict[str, Any]:
        """Not the inferred columns: more rows may show more of them."""
        return {"id": self.spec.id, "types": dict(self.spec.types)}

    def _sample(self) -> list[dict[str, Any]]:
        if self._sampled is None:
            rows = (row for file in self._names for row in self._objects(file))
            self._sampled = list(islice(rows, SAMPLE))
        return self._sampled

    def _objects(self, file: str) -> Iterator[dict[str, Any]]:
        with open_file(self.root, file) as stream:
            self._header(stream, file)
            yield from (row for row, problem in self._rows(Lines(stream), [], None) if not problem)

    def _mentions(self, name: str) -> bool:
        """Whether a key that the first rows lack occurs anywhere: sparse columns are welcome."""
        key = json.dumps(name).encode()
        for file in self._names:
            with open_file(self.root, file) as stream:
                if not (self.root / file).stat().st_size:
                    continue
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    if content.find(key) >= 0:
                        return True
        return False

    def _rows(
        self, lines: Lines, names: list[str], wanted: set[str] | None
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        for line in lines:
            if not is_blank(lines.raw):
                yield _parse_object(line)


def _parse_object(line: str) -> tuple[dict[str, Any], str | None]:
    try:
        value = json.loads(line)
        if "\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as err:
        reason = err.msg if isinstance(err, json.JSONDecodeError) else type(err).__name__
        return {}, f"not valid JSON: {reason}"
    if not isinstance(value, dict):
        return {}, f"expected a JSON object, got {type(value).__name__}"
    return value, None


def _range(stream: BinaryIO, length: int, digest: RangeDigest) -> Iterator[bytes]:
    """The physical lines of the next `length` bytes, digested on the way."""
    while length > 0 and (line := stream.readline(length)):
        length -= len(line)
        digest.update(line)
        yield line
