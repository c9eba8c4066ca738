"""What folders and tars share: which file extensions a column means, and the catalogue of members.

A catalogue is a Parquet file of the plan, one row group per shard, so that a worker touches only
its own: record_id, and for each member its suffix, size, offset in the tar (0 in a folder) and
modification time.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pipeline import files, intact
from pipeline.errors import ConfigError
from pipeline.sources.base import Limit, Piece, Shard, SourceSpec

FAMILIES = {
    "image": "jpg jpeg jpe png webp gif bmp tif tiff ppm pgm pbm tga ico jp2 avif heic heif qoi",
    "audio": "wav flac mp3 ogg oga opus m4a aac aif aiff au wma amr ape caf",
    "video": "mp4 m4v mov mkv webm avi mpg mpeg ts flv 3gp ogv wmv",
    "text": "txt",
}
TEXTS = frozenset({"txt", "cls"})
LARGEST_TEXT = 16 << 20
SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("suffix", pa.list_(pa.string())),
        ("size", pa.list_(pa.int64())),
        ("offset", pa.list_(pa.int64())),
        ("mtime", pa.list_(pa.int64())),
    ]
)


class Part(NamedTuple):
    """One member of a record. suffix: as in its name, with the dot."""

    suffix: str
    size: int
    offset: int
    mtime: int

    @property
    def extension(self) -> str:
        """What columns are matched with."""
        return self.suffix[1:].lower()


class Entry(NamedTuple):
    """One record of a catalogue."""

    record_id: str
    parts: tuple[Part, ...]


def extensions(column: str) -> frozenset[str]:
    """The file extensions a column stands for: a family such as `image`, or the one it names."""
    family = FAMILIES.get(column.lower())
    return frozenset(family.split() if family else [column.lower().removeprefix(".")])


def member_of(entry: Entry, column: str, where: str) -> Part | None:
    """The member that a column means, None where the record has none.

    Raises:
        ConfigError: two members match; a record has one medium a column.
    """
    matching = [part for part in entry.parts if part.extension in extensions(column)]
    if len(matching) > 1:
        first, second = (f"{entry.record_id}{part.suffix}" for part in matching[:2])
        raise ConfigError(
            f"{where}: {first} and {second} are both the {column!r} of one record; "
            "rename one, or name one extension as the column"
        )
    return matching[0] if matching else None


def refuse_table_keys(spec: SourceSpec, record_id: str) -> None:
    """Folders and tars have ids of their own, and no columns of text to type.

    Raises:
        ConfigError: the configuration gives either.
    """
    if spec.id or spec.types:
        raise ConfigError(f"source: id and types are for tables; {record_id}")


def media_bytes(entry: Entry, columns: Sequence[str], where: str) -> int:
    """What the record's media of these columns weigh; refuses two members for one column."""
    parts = (member_of(entry, column, where) for column in columns)
    return sum(part.size for part in parts if part)


def cut_entries(
    file: str, entries: Iterable[tuple[Entry, int]], limits: Iterator[Limit]
) -> Iterator[Piece]:
    """Group (record, bytes of its media) into pieces, each with its catalogue.

    Their offset is set when the catalogue is written: planning may find that a piece is known.
    """
    batch: list[Entry] = []
    start = size = 0
    limit: Limit | None = None
    for entry, weight in entries:
        over = limit and limit.bytes is not None and size + weight > limit.bytes
        if batch and limit and (len(batch) == limit.rows or over):
            yield _piece(file, start, size, batch)
            start, size, batch, limit = start + len(batch), 0, [], None
        limit = limit or next(limits)
        batch.append(entry)
        size += weight
    if batch:
        yield _piece(file, start, size, batch)


def _piece(file: str, start: int, size: int, batch: Sequence[Entry]) -> Piece:
    table = pa.table(
        [
            [entry.record_id for entry in batch],
            [[part.suffix for part in entry.parts] for entry in batch],
            [[part.size for part in entry.parts] for entry in batch],
            [[part.offset for part in entry.parts] for entry in batch],
            [[part.mtime for part in entry.parts] for entry in batch],
        ],
        schema=SCHEMA,
    )
    digest = hashlib.sha256(json.dumps(batch).encode()).hexdigest()
    return Piece(file, start, len(batch), 0, size, digest, catalogue=table)


def catalogue_path(folder: Path, generation: int) -> Path:
    """Where the catalogue of a generation lies."""
    return folder / f"catalogue-{generation:04d}.parquet"


def read_catalogues(folder: Path | None, shards: Sequence[Shard]) -> Iterator[list[Entry]]:
    """The records of shards of one generation, shard by shard."""
    if not shards:
        return
    if folder is None:
        raise ValueError("this source needs plan_folder: its catalogue is there")
    path = files.local(catalogue_path(folder, shards[0].generation))
    with intact.opened(path) as file:
        for shard in shards:
            table = file.read_row_group(shard.offset)
            columns = (table[name].to_pylist() for name in SCHEMA.names)
            yield [
                Entry(record_id, tuple(map(Part, *parts)))
                for record_id, *parts in zip(*columns, strict=True)
            ]


def nothing_matches(where: str, columns: Iterable[str], seen: Mapping[str, int]) -> ConfigError:
    """The error for columns that no file answers to."""
    shown = ", ".join(f".{name} ({count})" for name, count in sorted(seen.items())[:20])
    names = ", ".join(repr(column) for column in columns)
    return ConfigError(
        f"{where} has no file for {names}; expected an extension or one of "
        f"{', '.join(FAMILIES)}; there are: {shown or 'no files'}"
    )
