"""The ledger: one done marker per (shard, unit). A marker that exists is the only truth.

A unit is `extract.<modality>`, `records`, `split`, `fuse.<model>` or `restore.<model>`. Markers are
created exclusively: the first one wins, and as equal work gives equal bytes it does not matter who
was first. Work that is done again on purpose (retry, a changed encoder, new inputs) is the next
revision; the highest revision counts. Files that no current marker names are garbage.
"""

import base64
import re
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from pipeline import bucket, files
from pipeline.errors import PolyfuseError
from pipeline.lease import Lease
from pipeline.store import PartFile

# One letter per row in a marker's states.
VECTOR, ABSENT, FAILED, FILTERED = "v", ".", "x", "f"
_READERS, _READ = 16, 16  # threads that read markers, and how many markers at a time
_PREFIX = 100  # shards per ledger folder: looking for one marker reads all names there
_MARKER = re.compile(r"(?P<shard>\d{7,})-(?P<unit>.+)-(?P<revision>\d{4})\.json")
_DAMAGED = "remove it and run `polyfuse run CONFIG`: what it stood for is computed again"


@dataclass(frozen=True)
class Marker:
    """What one finished unit left behind.

    work: digest of what the unit was asked to do (identities, inputs); a unit is done when its
    newest marker has the digest that is wanted now. states: {feature: one letter per row}.
    errors: {reason: count}. For people only: seconds, finished: time taken and time of day (Unix);
    spent: {step: seconds}, where the steps are known.
    """

    shard: int
    unit: str
    work: str
    rows: int
    files: tuple[PartFile, ...]
    states: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    revision: int = 0
    finished: float = 0.0
    spent: Mapping[str, float] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The JSON file; states are deflated, for they are long and monotonous."""
        data = asdict(self)
        data["states"] = {name: _deflate(text) for name, text in self.states.items()}
        return files.to_json(data)

    @classmethod
    def from_bytes(cls, content: bytes, path: Path) -> "Marker":
        """What `to_bytes` gave, read from this path.

        Raises:
            PolyfuseError: it is damaged.
        """
        stored = files.typed(cls, files.parse_json(content, path, _DAMAGED), path, _DAMAGED)
        try:
            states = {name: _inflate(text) for name, text in stored.states.items()}
        except (ValueError, zlib.error) as err:
            raise files.damaged(path, "its states can't be read", _DAMAGED) from err
        if any(len(text) != stored.rows for text in states.values()):
            raise files.damaged(path, "its states are not one letter per row", _DAMAGED)
        return replace(stored, states=states)

    def file(self, folder: str) -> PartFile:
        """The one part of this unit in that folder.

        Raises:
            PolyfuseError: it has none.
        """
        part = self.part(folder)
        if part is None:
            raise PolyfuseError(
                f"the marker of {self.unit}, shard {self.shard}, names no part of {folder}"
            )
        return part

    def part(self, folder: str) -> PartFile | None:
        """The same, or None where it has none."""
        return next((part for part in self.files if part.folder == folder), None)


def _deflate(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _inflate(text: str) -> str:
    return zlib.decompress(base64.b64decode(text)).decode()


def _read(paths: Sequence[Path]) -> list[Marker]:
    """Those of the markers that are there."""
    found = zip(files.read_all(paths), paths, strict=True)
    return [Marker.from_bytes(content, path) for content, path in found if content is not None]


class Ledger:
    """The markers of one run, in RUN/ledger/<hundred>/.

    A listing may lag behind what workers have just written (object stores): who knows better tells
    it by `saw`, and where one marker is looked for the next revisions are asked for by name.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.folder = run / "ledger"
        self._seen: dict[Path, dict[tuple[int, str], int]] = {}  # by folder

    def saw(self, shard: int, unit: str, revision: int) -> None:
        """Somebody reports that this marker is there; a folder of this machine shows it anyway."""
        if bucket.holds(self.run):
            seen = self._seen.setdefault(self._prefix(shard), {})
            seen[shard, unit] = max(revision, seen.get((shard, unit), 0))

    def latest(self, shard: int, unit: str) -> Marker | None:
        """The newest revision of one unit's marker, or None while the unit is not done."""
        newest = self._newest(self._prefix(shard), f"{shard:07d}-{unit}-")
        revision = newest.get((shard, unit), -1)
        while self._path(shard, unit, revision + 1).exists():
            revision += 1
        return self.find(shard, unit, revision)

    def find(self, shard: int, unit: str, revision: int) -> Marker | None:
        """One revision of a marker, or None where it is not there."""
        return next(iter(_read([self._path(shard, unit, revision)])), None)

    def of_shard(self, shard: int) -> dict[str, Marker]:
        """The newest marker of each unit of one shard."""
        newest = self._newest(self._prefix(shard), f"{shard:07d}-")
        paths = [self._path(*unit, revision) for unit, revision in newest.items()]
        return {marker.unit: marker for marker in _read(paths)}

    def by_shard(self) -> Iterator[tuple[int, dict[str, Marker]]]:
        """The same for every shard that has a marker, in number order."""
        for shard, markers in groupby(self.scan(), attrgetter("shard")):
            yield shard, {marker.unit: marker for marker in markers}

    def shards(self) -> Iterator[int]:
        """The numbers of the shards that have a marker, in order; no marker is read."""
        for folder in self._folders():
            yield from sorted({shard for shard, _ in self._newest(folder)})

    def scan(self) -> Iterator[Marker]:
        """The newest marker of every unit, by shard. One folder is in memory at a time.

        A network share takes a millisecond for a file, and answers many readers at a time.
        """
        with ThreadPoolExecutor(_READERS) as pool:
            for folder in self._folders():
                newest = sorted(self._newest(folder).items())
                paths = [self._path(*unit, revision) for unit, revision in newest]
                several = [paths[i : i + _READ] for i in range(0, len(paths), _READ)]
                for found in pool.map(_read, several):
                    yield from found

    def commit(self, marker: Marker, lease: Lease) -> bool:
        """Create the marker; False where the same revision was committed before.

        Raises:
            Refused: another writer has taken the run over since this one started.
        """
        lease.check()
        created = files.create(self.path(marker), marker.to_bytes())
        for attempt in self._attempts(marker.shard, marker.unit):
            files.remove(attempt)
        return created

    def attempt(self, shard: int, unit: str) -> int:
        """Note durably, before the work, that a try begins; returns which one it is, from 1.

        A try that ends in a commit removes the notes; those that remain killed their worker.
        """
        number = len(self._attempts(shard, unit)) + 1
        files.create(self._prefix(shard) / f"{shard:07d}-{unit}.attempt-{number:03d}", b"begun\n")
        return number

    def forget(self, shard: int, unit: str) -> None:
        """Drop the markers of a unit that is no longer worth having."""
        newest = self._newest(self._prefix(shard), f"{shard:07d}-{unit}-").get((shard, unit), -1)
        for revision in range(newest + 1):
            files.remove(self._path(shard, unit, revision))
        self._seen.get(self._prefix(shard), {}).pop((shard, unit), None)

    def prune(self, shards: Container[int], units: Container[str]) -> None:
        """Remove what belongs to other shards or units than these, and markers with a newer revision."""
        for folder in self._folders():
            newest = self._newest(folder)
            for name in files.names(folder):
                if name.startswith(files.TEMPORARY):
                    continue  # somebody's, or garbage
                found = _MARKER.fullmatch(name)
                unit = found["unit"] if found else None
                gone = int(name.partition("-")[0]) not in shards
                gone |= unit is not None and unit not in units
                old = found and int(found["revision"]) < newest[int(found["shard"]), found["unit"]]
                if gone or old:
                    files.remove(folder / name)

    def _folders(self) -> list[Path]:
        """Those that hold markers, in the order of their shards."""
        names = {name for name in files.names(self.folder) if name.isdigit()}
        names |= {folder.name for folder in self._seen}
        return [self.folder / name for name in sorted(names)]

    def _newest(self, folder: Path, prefix: str = "") -> dict[tuple[int, str], int]:
        """The newest revision of every unit in one folder, or of those whose names begin like this."""
        newest: dict[tuple[int, str], int] = {}
        for found in filter(None, map(_MARKER.fullmatch, files.names(folder, prefix))):
            unit, revision = (int(found["shard"]), found["unit"]), int(found["revision"])
            newest[unit] = max(revision, newest.get(unit, 0))
        for unit, revision in self._seen.get(folder, {}).items():
            if self._path(*unit, revision).name.startswith(prefix):
                newest[unit] = max(revision, newest.get(unit, 0))
        return newest

    def _prefix(self, shard: int) -> Path:
        return self.folder / f"{shard // _PREFIX:05d}"

    def path(self, marker: Marker) -> Path:
        """Where a marker is, or will be."""
        return self._path(marker.shard, marker.unit, marker.revision)

    def _path(self, shard: int, unit: str, revision: int) -> Path:
        return self._prefix(shard) / f"{shard:07d}-{unit}-{revision:04d}.json"

    def _attempts(self, shard: int, unit: str) -> list[Path]:
        folder = self._prefix(shard)
        return [folder / name for name in files.names(folder, f"{shard:07d}-{unit}.attempt-")]
