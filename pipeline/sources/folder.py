"""A media folder: the files below it, grouped by relative path without suffix, are the records.

Hidden files, special files, symbolic links to folders and links that leave the folder are not part
of it. Nothing is opened at planning: size and modification time tell an edited file, so a new time
alone counts as an edit.
"""

import heapq
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

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
    piece_of,
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


class _Pair(NamedTuple):
    """One record as it is now and as it was planned, in the shard of this number."""

    now: Entry | None
    then: Entry | None
    shard: int


class MediaFolder:
    """Records of loose files. Cells are relative paths; a text is its content."""

    unchecked_ids = False  # a path names one file

    def __init__(self, spec: SourceSpec, location: Location, plan_folder: Path | None) -> None:
        refuse_table_keys(spec, "a folder's record id is the relative path without suffix")
        self.spec = spec
        self.root = location.root
        self.plan_folder = plan_folder

    def schema(self) -> pa.Schema:
        """The relative path of each medium; the text of texts."""
        return pa.schema([(column, pa.string()) for column in self.spec.columns])

    def signature(self) -> dict[str, Any]:
        """The columns: they say which files make a record."""
        return {"columns": sorted(self.spec.columns)}

    def files(self) -> dict[str, FileState]:
        """None: the catalogue holds every file's state."""
        return {}

    def may_be_few(self, records: int) -> bool:
        """As `Source`; a walk sorts and weighs whole folders, this ends with the first names too many."""
        wanted = self._wanted()
        stems: set[str] = set()
        stack = [str(self.root)]
        while stack:
            with os.scandir(stack.pop()) as found:
                for file in found:
                    if file.name.startswith("."):
                        continue
                    if file.is_dir(follow_symlinks=False):
                        stack.append(file.path)
                        continue
                    stem, suffix = os.path.splitext(file.path)
                    if suffix[1:].lower() in wanted:
                        stems.add(stem)
                    if len(stems) > records:
                        return False
        return True

    def describe(self, shard: Shard) -> str:
        """The first and last record."""
        entries = next(read_catalogues(self.plan_folder, [shard]))
        return f"records {entries[0].record_id} to {entries[-1].record_id}"

    def scan(
        self, files: Mapping[str, FileState], known: Known, growing: Iterator[Limit]
    ) -> Iterator[Piece]:
        """Compare folder and catalogues, both in record order, then cut what isn't covered."""
        shards = known.shards.get(".", ())
        pairs = self._paired(shards) if shards else iter(())
        changed = {pair.shard for pair in pairs if pair.then and pair.now != pair.then}
        kept = [shard for shard in shards if shard.number not in changed]
        yield from map(piece_of, kept)
        new = (pair.now for pair in self._paired(kept) if pair.now and not pair.then)
        root, columns = str(self.root), self.spec.columns
        weighed = ((entry, media_bytes(entry, columns, root)) for entry in new)
        yield from cut_entries(".", weighed, growing)

    def read(self, shard: Shard, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Rows from the catalogue; only texts are opened."""
        wanted = self.spec.columns if columns is None else columns
        for entry in next(read_catalogues(self.plan_folder, [shard])):
            yield Row(entry.record_id, {name: self._cell(entry, name) for name in wanted})

    def _cell(self, entry: Entry, column: str) -> Any:
        part = member_of(entry, column, str(self.root))
        if part is None:
            return None
        name = entry.record_id + part.suffix
        return self._text(name, part.size) if part.extension in TEXTS else name

    def _text(self, name: str, size: int) -> str | Member:
        """The content of a text file; one that is no UTF-8, gone or huge stays a reference, so that
        it fails as one medium and not as the whole record."""
        path = self.root / name
        try:
            if size <= LARGEST_TEXT:
                return path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            pass
        return Member(str(path.absolute()), 0, size, name)

    def _paired(self, shards: Sequence[Shard]) -> Iterator[_Pair]:
        """Merge the walk with the catalogues of these shards by record id."""
        generations = groupby(shards, key=lambda shard: shard.generation)
        streams = [self._planned(list(group)) for _, group in generations]
        then = heapq.merge(*streams, key=lambda item: _order(item[0]))
        now = self._walk()
        entry, old = next(now, None), next(then, None)
        while entry or old:
            side = 0 if not (entry and old) else _compare(entry, old[0])
            if entry and (not old or side < 0):
                yield _Pair(entry, None, -1)
                entry = next(now, None)
            elif old and (not entry or side > 0):
                yield _Pair(None, *old)
                old = next(then, None)
            elif old:
                yield _Pair(entry, *old)
                entry, old = next(now, None), next(then, None)

    def _planned(self, shards: list[Shard]) -> Iterator[tuple[Entry, int]]:
        for shard, entries in zip(shards, read_catalogues(self.plan_folder, shards), strict=True):
            yield from ((entry, shard.number) for entry in entries)

    def _walk(self) -> Iterator[Entry]:
        """The records, sorted by the parts of their paths; one folder's names are in memory."""
        wanted = self._wanted()
        seen: Counter[str] = Counter()
        stack = [iter(self._list("", wanted, seen))]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, Entry):
                yield item
            else:
                stack.append(iter(self._list(item, wanted, seen)))
        missing = [name for name in self.spec.columns if not extensions(name) & seen.keys()]
        if missing:
            raise nothing_matches(str(self.root), missing, seen)

    def _wanted(self) -> frozenset[str]:
        return frozenset[str]().union(*map(extensions, self.spec.columns))

    def _list(self, prefix: str, wanted: frozenset[str], seen: Counter[str]) -> list[Entry | str]:
        """One folder: its records and, as their prefix, its folders, in order."""
        groups: dict[str, list[Part]] = {}
        folders = set()
        with os.scandir(self.root / prefix) as found:
            for file in found:
                if file.name.startswith("."):
                    continue
                if file.is_dir(follow_symlinks=False):
                    folders.add(file.name)
                elif file.is_file() and self._inside(file):
                    stem, suffix = os.path.splitext(file.name)
                    seen[suffix[1:].lower()] += 1
                    if suffix[1:].lower() in wanted:
                        _refuse_odd_name(file.path)
                        stat = file.stat()
                        part = Part(suffix, stat.st_size, 0, stat.st_mtime_ns)
                        groups.setdefault(stem, []).append(part)
        ordered: list[Entry | str] = []
        for name in sorted(groups.keys() | folders):
            if name in groups:
                ordered.append(Entry(prefix + name, tuple(sorted(groups[name]))))
            if name in folders:
                ordered.append(f"{prefix}{name}/")
        return ordered

    def _inside(self, file: os.DirEntry[str]) -> bool:
        """Whether a link stays in the folder; anything else does."""
        if not file.is_symlink():
            return True
        return Path(file.path).resolve().is_relative_to(self.root.resolve())


def _order(entry: Entry) -> list[str]:
    return entry.record_id.split("/")


def _compare(now: Entry, then: Entry) -> int:
    a, b = _order(now), _order(then)
    return (a > b) - (a < b)


def _refuse_odd_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as err:
        raise ConfigError(f"the file name {path!r} is not valid UTF-8; rename the file") from err
