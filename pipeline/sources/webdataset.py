"""WebDataset: tar files whose adjacent members with one key are a record.

The key is the member's name up to the first dot after its last slash, the rest is the extension.
Planning reads the headers once and keeps where members begin; their bytes are read in place, and
nothing is ever extracted. Links, devices, folders, hidden members and members without an extension
are no data; absolute names and `..` are refused.
"""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.sources.base import (
    FileState,
    Known,
    Limit,
    Member,
    Piece,
    Row,
    Shard,
    SourceSpec,
    scan_files,
)
from pipeline.sources.discover import Location
from pipeline.sources.media import (
    LARGEST_TEXT,
    TEXTS,
    Entry,
    Part,
    cut_entries,
    extensions,
    media_bytes,
    member_of,
    nothing_matches,
    read_catalogues,
    refuse_table_keys,
)
from pipeline.sources.metadata import infer
from pipeline.sources.table import file_states, open_file

SAMPLE = 1000


class TarShards:
    """Records of tar files. A column is an extension, a family of them, or a scalar key of the
    record's `.json` member. Media cells are `Member`s; `.txt` and `.cls` are text."""

    unchecked_ids = True  # a key may come back later in the tar

    def __init__(self, spec: SourceSpec, location: Location, plan_folder: Path | None) -> None:
        refuse_table_keys(spec, "a tar's record id is its name and the key")
        self.spec = spec
        self.root = location.root
        self.plan_folder = plan_folder
        self._names = location.files

    def schema(self) -> pa.Schema:
        """Wanted media as their names, `.txt` and `.cls` as text, scalar keys of `.json` members:
        what the first records show."""
        found, keys = self._first
        media = [name for name in self.spec.columns if extensions(name) & found or name not in keys]
        named = dict.fromkeys([*media, *sorted(TEXTS & found)], pa.string())
        return pa.schema(list((keys | named).items()))

    def signature(self) -> dict[str, Any]:
        """Nothing: all members are in the catalogue, whatever the modalities."""
        return {}

    def files(self) -> dict[str, FileState]:
        """Each tar's size and modification time."""
        return file_states(self.root, self._names)

    def may_be_few(self, records: int) -> bool:
        """As `Source`: hardly a file is empty."""
        return len(self._names) <= records

    def scan(
        self, files: Mapping[str, FileState], known: Known, growing: Iterator[Limit]
    ) -> Iterator[Piece]:
        """One pass over the headers of the tars that are new or touched."""
        seen: Counter[str] = Counter()
        yield from scan_files(files, known, growing, lambda file, cap: self._cut(file, cap, seen))
        keys = self._first[1]
        wanted = (name for name in self.spec.columns if name not in keys)
        missing = [name for name in wanted if not extensions(name) & seen.keys()]
        if missing and seen and not known.shards:
            raise nothing_matches(self._names[0], missing, seen)

    def describe(self, shard: Shard) -> str:
        """Tar and records, counted from 1."""
        return f"{shard.file} records {shard.start + 1} to {shard.start + shard.rows}"

    def read(self, shard: Shard, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Rows from the catalogue; only texts, and `.json` where a key is wanted, are read."""
        wanted = self.schema().names if columns is None else columns
        with open_file(self.root, shard.file) as tar:
            for entry in next(read_catalogues(self.plan_folder, [shard])):
                yield Row(entry.record_id, self._cells(tar, shard.file, entry, wanted))

    def _cells(
        self, tar: BinaryIO, file: str, entry: Entry, wanted: Sequence[str]
    ) -> dict[str, Any]:
        cells: dict[str, Any] = {}
        document: dict[str, Any] | None = None
        for column in wanted:
            part = member_of(entry, column, file)
            if part:
                cells[column] = self._cell(tar, file, entry, part)
                continue
            if document is None:
                document = _document(tar, entry)
            cells[column] = document.get(column)
        return cells

    def _cell(self, tar: BinaryIO, file: str, entry: Entry, part: Part) -> str | Member:
        """A text as str; any other member, and a text that is no UTF-8 or huge, by reference."""
        if part.extension in TEXTS and part.size <= LARGEST_TEXT:
            try:
                return _bytes(tar, part).decode("utf-8-sig")
            except UnicodeDecodeError:
                pass
        key = entry.record_id.removeprefix(_stem(file) + "/")
        path = str((self.root / file).absolute())
        return Member(path, part.offset, part.size, f"{file}/{key}{part.suffix}")

    def _cut(self, file: str, limits: Iterator[Limit], seen: Counter[str]) -> Iterator[Piece]:
        def weighed() -> Iterator[tuple[Entry, int]]:
            for entry in self._entries(file):
                seen.update(part.extension for part in entry.parts)
                yield entry, media_bytes(entry, self.spec.columns, file)

        return cut_entries(file, weighed(), limits)

    def _entries(self, file: str) -> Iterator[Entry]:
        """Adjacent members of one key. A column that two of them answer is refused later."""
        with open_file(self.root, file) as raw:
            members = ((*_split(info.name), info) for info in _headers(raw, file))
            for key, group in groupby(members, key=lambda item: item[0]):
                parts = (
                    Part(suffix, info.size, info.offset_data, int(info.mtime))
                    for _, suffix, info in group
                )
                yield Entry(f"{_stem(file)}/{key}", tuple(parts))

    @cached_property
    def _first(self) -> tuple[set[str], dict[str, pa.DataType]]:
        """The extensions of the first records and the scalar keys of their `.json` members."""
        entries = list(islice(self._entries(self._names[0]), SAMPLE))
        with open_file(self.root, self._names[0]) as tar:
            keys = infer(_document(tar, entry) for entry in entries)
        return {part.extension for entry in entries for part in entry.parts}, keys


def _headers(raw: BinaryIO, file: str) -> Iterator[tarfile.TarInfo]:
    """The data members, in order and in bounded memory.

    Raises:
        ConfigError: the tar is damaged, or a name leaves it.
    """
    end = raw.seek(0, 2)
    raw.seek(0)
    try:
        with tarfile.open(fileobj=raw, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
                if info.offset_data + info.size > end and info.isreg():
                    raise tarfile.ReadError("unexpected end of data")
                if _is_data(info, file):
                    yield info
            raw.seek(tar.offset)
            if raw.read(512).strip(b"\0"):  # tarfile takes a broken header for the end
                raise tarfile.ReadError("a header is damaged")
    except tarfile.TarError as err:
        if end == 0:
            raise ConfigError(f"{file} is empty; expected a tar file") from err
        raise ConfigError(f"{file} is not a whole tar file: {err}") from err


def _is_data(info: tarfile.TarInfo, file: str) -> bool:
    if not info.isreg() or info.issparse():
        return False
    parts = info.name.split("/")
    if info.name.startswith("/") or ".." in parts:
        raise ConfigError(f"{file}: refused the member name {info.name!r}, which leaves the tar")
    stem, _, extension = parts[-1].partition(".")
    return bool(stem and extension)


def _split(name: str) -> tuple[str, str]:
    """WebDataset's rule: key, and suffix with its dot."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, dot, extension = base.partition(".")
    return folder + slash + stem, dot + extension


def _stem(file: str) -> str:
    return file[: -len(".tar")]


def _document(tar: BinaryIO, entry: Entry) -> dict[str, Any]:
    """The record's `.json` member; one that can't be read has no keys."""
    part = next((part for part in entry.parts if part.extension == "json"), None)
    if part is None or part.size > LARGEST_TEXT:
        return {}
    try:
        value = json.loads(_bytes(tar, part))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _bytes(tar: BinaryIO, part: Part) -> bytes:
    tar.seek(part.offset)
    return tar.read(part.size)
