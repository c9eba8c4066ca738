"""Where the rows of a text table end, found in the bytes without parsing cells.

Planning reads every byte of a CSV once. A quote-parity scan in numpy does that at hundreds of
megabytes a second, and it is exact as long as every quote is where RFC 4180 wants it; a block with
any other quote goes through the csv parser itself, so planning and reading always agree.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from pipeline.errors import ConfigError
from pipeline.sources.base import Limit, Piece

CHUNK = 8 << 20
LONGEST_ROW = 64 << 20
_NEWLINE, _RETURN, _QUOTE = b"\n\r" + b'"'


class Lines:
    """Physical lines of bytes as text, with a note of what the parser has taken so far.

    position: bytes taken; raw: the last line; exhausted: there are no more; invalid: a line since
    the last `reset` was not UTF-8 (it is then passed on as Latin-1, which keeps its structure).
    """

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = iter(stream)
        self.position = 0
        self.raw = b""
        self.exhausted = False
        self.invalid = False

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        try:
            self.raw = next(self._stream)
        except StopIteration:
            self.exhausted = True
            raise
        self.position += len(self.raw)
        try:
            return self.raw.decode()
        except UnicodeDecodeError:
            self.invalid = True
            return self.raw.decode("latin-1")


def is_blank(line: bytes) -> bool:
    """Whether a physical line is empty: no record."""
    return line in (b"\n", b"\r\n", b"\r", b"")


def parse_fields(lines: Lines, delimiter: str) -> Iterator[list[str] | csv.Error]:
    """Rows of fields; a row the parser refuses is its error. Blank lines are left out."""
    csv.field_size_limit(LONGEST_ROW)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as err:
            yield err
            continue
        if fields or not is_blank(lines.raw):
            yield fields


class RangeDigest:
    """sha256 of consecutive rows without the last line break: a final row is the same row whether
    or not its file ends in a newline."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._held = b""

    def update(self, rows: bytes) -> None:
        """Take in bytes that end where a row ends."""
        self._sha.update(self._held)
        end = len(rows) - (2 if rows.endswith(b"\r\n") else rows.endswith(b"\n"))
        self._sha.update(memoryview(rows)[:end])
        self._held = rows[end:]

    def hexdigest(self) -> str:
        """The digest so far."""
        return self._sha.hexdigest()


def cut_rows(
    stream: BinaryIO, file: str, delimiter: str | None, limits: Iterator[Limit]
) -> Iterator[Piece]:
    """Group the rows from the stream's position on into pieces; memory is bounded by one block.

    delimiter None: every line is a row (JSON lines).
    """
    offset = begin = stream.tell()
    start = rows = 0
    digest = RangeDigest()
    limit: Limit | None = None
    for block, ends in _blocks(stream, file, delimiter):
        row = taken = 0
        while row < len(ends):
            limit = limit or next(limits)
            stop = min(row + limit.rows - rows, len(ends))
            if limit.bytes is not None:
                fitting = int(np.searchsorted(ends, begin + limit.bytes - offset, side="right"))
                first = rows == 0  # a single row is taken, however large
                stop = max(min(stop, fitting), row + first)
            if stop > row:
                digest.update(block[taken : ends[stop - 1]])
                taken = int(ends[stop - 1])
            rows += stop - row
            row = stop
            if rows == limit.rows or row < len(ends):
                end = offset + taken
                yield Piece(file, start, rows, begin, end - begin, digest.hexdigest())
                start, rows, begin, digest, limit = start + rows, 0, end, RangeDigest(), None
        offset += len(block)
    if rows:
        yield Piece(file, start, rows, begin, offset - begin, digest.hexdigest())


def _blocks(
    stream: BinaryIO, file: str, delimiter: str | None
) -> Iterator[tuple[bytes, np.ndarray]]:
    """(whole rows, where each ends); blank lines belong to the row after them."""
    carry = b""
    position = stream.tell()
    while chunk := stream.read(CHUNK):
        data = carry + chunk
        ends = _row_ends(data[: data.rfind(b"\n") + 1], delimiter, final=False)
        end = int(ends[-1]) if len(ends) else 0
        if end:
            yield data[:end], ends
        carry = data[end:]
        position += end
        if len(carry) > LONGEST_ROW:
            raise ConfigError(
                f"{file}: the row at byte {position} is longer than {LONGEST_ROW >> 20} MB; "
                "expected one record there (is a quote not closed?)"
            )
    if carry:
        closed = carry if carry.endswith(b"\n") else carry + b"\n"
        ends = np.minimum(_row_ends(closed, delimiter, final=True), len(carry))
        if len(ends):
            yield carry[: ends[-1]], ends


def _row_ends(data: bytes, delimiter: str | None, *, final: bool) -> np.ndarray:
    """Where rows end in whole lines that begin at a row; an unfinished last row only if final."""
    view = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(view == _NEWLINE)
    unfinished = False
    if delimiter is not None and b'"' in data:
        quotes = np.flatnonzero(view == _QUOTE)
        if not _well_formed(view, quotes, ord(delimiter)):
            return _row_ends_parsed(data, delimiter, final=final)
        newlines = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        unfinished = len(quotes) % 2 == 1
    ends = newlines + 1
    starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    lengths = ends - starts
    blank = (lengths == 1) | ((lengths == 2) & (view[starts] == _RETURN))
    ends = ends[~blank]
    return np.append(ends, len(data)) if unfinished and final else ends


def _well_formed(view: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    """Whether every quote opens a field, closes one, or is half of a doubled quote, and no carriage
    return stands alone outside of them (the parser ends the row at its line, quotes or not)."""
    opening, closing = quotes[::2], quotes[1::2]
    before = np.where(opening > 0, view[opening - 1], _NEWLINE)
    after, second = view[closing + 1], view[np.minimum(closing + 2, len(view) - 1)]
    opens = (before == delimiter) | (before == _NEWLINE) | (before == _QUOTE)
    closes = (after == delimiter) | (after == _NEWLINE) | (after == _QUOTE)
    closes |= (after == _RETURN) & (second == _NEWLINE)
    if not (opens.all() and closes.all()):
        return False
    returns = np.flatnonzero(view == _RETURN)
    alone = returns[view[returns + 1] != _NEWLINE]
    return bool((np.searchsorted(quotes, alone) % 2 == 1).all())


def _row_ends_parsed(data: bytes, delimiter: str, *, final: bool) -> np.ndarray:
    lines = Lines(io.BytesIO(data))
    ends = []
    for row in parse_fields(lines, delimiter):
        if isinstance(row, csv.Error) and lines.exhausted and not final:
            break  # the row goes on behind this block
        ends.append(lines.position)
    return np.array(ends, dtype=np.int64)
