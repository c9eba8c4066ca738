"""What every kind of source shares: the values that travel, and the contract.

A source names its records and reads them by shard. Planning asks it for *pieces* (row ranges with a
fingerprint); workers get shards, which are pieces with a number, and read only those bytes.
"""

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Member:
    """Bytes inside a larger file. `path` is absolute; `name` is what people and `records/` see:
    relative, the same on every machine."""

    path: str
    offset: int
    size: int
    name: str = ""


Cell = str | bytes | int | float | bool | list | None | Member
"""What a column holds for one record. None is absent."""


class Row(NamedTuple):
    """One record. `problem` says why it can't be parsed (BAD_ROW); its cells are then empty and its
    id is the default one, which needs no parsing."""

    record_id: str
    cells: dict[str, Any]
    problem: str | None = None


@dataclass(frozen=True)
class SourceSpec:
    """Where the records are. Picklable.

    path: as in the configuration, absolute; id: the id column; types: declared types of text
    columns; columns: those that modalities read.
    """

    path: str
    id: str | None = None
    types: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of work: `rows` records of `file` (relative to the source's root) from row `start` on.

    offset, length: for text tables the byte range; for Parquet the first row group and the bytes of
    the wanted columns; for folders and tars the row group of the generation's catalogue and the
    bytes of the media. fingerprint: sha256 of what was planned.
    """

    number: int
    generation: int
    file: str
    start: int
    rows: int
    offset: int
    length: int
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for a row of a table."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Shard":
        """The inverse of `to_dict`; other keys are left alone."""
        return cls(**{item.name: data[item.name] for item in fields(cls)})


class FileState(NamedTuple):
    """What tells quickly that a file is as it was."""

    size: int
    mtime_ns: int


class Limit(NamedTuple):
    """How large the next piece may get; `bytes` None means exactly this many rows, if there are."""

    rows: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    """A planned range of rows. `known` is the number of the shard that holds the very same rows
    already; a new piece of a folder or a tar brings its catalogue."""

    file: str
    start: int
    rows: int
    offset: int
    length: int
    fingerprint: str
    known: int | None = None
    catalogue: pa.Table | None = None


@dataclass(frozen=True)
class Known:
    """What an earlier planning left: live shards by file, in row order, and the files' states."""

    shards: Mapping[str, Sequence[Shard]] = field(default_factory=dict)
    files: Mapping[str, FileState] = field(default_factory=dict)


class Source(Protocol):
    """Records of one kind of source.

    root: where relative media paths start. unchecked_ids: the ids may hold nulls or duplicates, so
    planning must look. plan_folder: where the catalogues of folders and tars are; planning sets it.
    """

    root: Path
    unchecked_ids: bool
    plan_folder: Path | None

    def schema(self) -> pa.Schema:
        """The scalar columns kept in `records/`; a bytes column as int64, its length."""
        ...

    def signature(self) -> dict[str, Any]:
        """What may never change between two plannings of one run; JSON values."""
        ...

    def files(self) -> dict[str, FileState]:
        """The files of the source, in order; empty for a media folder, which has a catalogue."""
        ...

    def may_be_few(self, records: int) -> bool:
        """Whether it may have no more records than that; told from names alone, and quickly."""
        ...

    def scan(
        self, files: Mapping[str, FileState], known: Known, growing: Iterator[Limit]
    ) -> Iterator[Piece]:
        """All rows as pieces: known ones where they are unchanged, new ones of growing sizes."""
        ...

    def describe(self, shard: Shard) -> str:
        """The shard's place in the source, for a message."""
        ...

    def read(self, shard: Shard, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """The rows of a shard, in order; only these columns (None: all), streaming."""
        ...


def scan_files(
    files: Mapping[str, FileState],
    known: Known,
    growing: Iterator[Limit],
    cut: Callable[[str, Iterator[Limit]], Iterator[Piece]],
) -> Iterator[Piece]:
    """`Source.scan` for sources made of files whose rows have a fixed order.

    A file that looks touched is cut again at the old boundaries, so that equal fingerprints prove
    unchanged rows and whatever follows the last boundary was appended. `cut` takes the next limit
    only when it has a row to put there.
    """
    for file, state in files.items():
        before = known.shards.get(file, ())
        if before and known.files.get(file) == state:
            for shard in before:
                yield piece_of(shard)
            continue
        limits = chain((Limit(shard.rows, None) for shard in before), growing)
        for index, piece in enumerate(cut(file, limits)):
            old = before[index] if index < len(before) else None
            if old is None or not _same(old, piece):
                yield piece
            elif piece.catalogue is not None:
                yield piece_of(old)  # its catalogue lies where it was written
            else:
                yield replace(piece, known=old.number)  # the bytes may have moved


def piece_of(shard: Shard) -> Piece:
    """A known shard as the piece it came from."""
    names = ("file", "start", "rows", "offset", "length", "fingerprint")
    return Piece(**{name: getattr(shard, name) for name in names}, known=shard.number)


def _same(shard: Shard, piece: Piece) -> bool:
    return (shard.start, shard.rows, shard.fingerprint) == (
        piece.start,
        piece.rows,
        piece.fingerprint,
    )


def default_id(file: str, position: int) -> str:
    """The id of a table row without an id column: 16 hex digits over its file and position."""
    return hashlib.sha256(f"{file}\0{position}".encode()).hexdigest()[:16]


def column_id(value: Any) -> str:
    """An id cell as text; "" for an empty one, which planning refuses."""
    return "" if value is None else value.hex() if isinstance(value, bytes) else str(value)


def unknown_column(name: str, known: Iterable[str], where: str) -> ConfigError:
    """The error for a column that isn't there: what is, and the nearest name."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(names[:40]) + (" ..." if len(names) > 40 else "")
    return ConfigError(f"{where} has no column {name!r}{hint}; there are: {shown or 'none'}")
