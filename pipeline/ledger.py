"""The ledger: one done marker per (shard, unit). A marker that exists is the only truth.

A unit is `extract.<modality>`, `records`, `split`, `fuse.<model>` or `restore.<model>`. Markers are
created exclusively: the first one wins, and as equal work gives equal bytes it does not matter who
was first. Work that is done again on purpose (retry, a changed encoder, new inputs) is the next
revision; the highest revision counts. Files that no current marker names are garbage.
"""

import base64
import json
import re
import zlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline import files
from pipeline.lease import Lease
from pipeline.store import PartFile

# One letter per row in a marker's states.
VECTOR, ABSENT, FAILED, FILTERED = "v", ".", "x", "f"
_PREFIX = 1000  # shards per ledger folder
_TOGETHER = 256  # markers read at a time
_MARKER = re.compile(r"(?P<shard>\d{7,})-(?P<unit>.+)-(?P<revision>\d{4})\.json")


@dataclass(frozen=True)
class Marker:
    """What one finished unit left behind.

    work: digest of what the unit was asked to do (identities, inputs); a unit is done when its
    newest marker has the digest that is wanted now. states: {feature: one letter per row}.
    errors: {reason: count}. seconds, finished: time taken and time of day (Unix), for people only.
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

    @property
    def states_digest(self) -> str:
        """Of the states: what is derived from them is made anew when this changes."""
        return files.short_digest(dict(self.states))

    def to_bytes(self) -> bytes:
        """The JSON file; states are deflated, for they are long and monotonous."""
        data = asdict(self)
        data["states"] = {name: _deflate(text) for name, text in self.states.items()}
        return files.to_json(data)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Marker":
        """What `to_bytes` gave."""
        data = json.loads(content)
        data.pop("format")
        data["files"] = tuple(PartFile(**part) for part in data["files"])
        data["states"] = {name: _inflate(text) for name, text in data["states"].items()}
        return cls(**data)

    def file(self, folder: str) -> PartFile:
        """The one part of this unit in that folder."""
        return next(part for part in self.files if part.folder == folder)


def _deflate(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _inflate(text: str) -> str:
    return zlib.decompress(base64.b64decode(text)).decode()


class Ledger:
    """The markers of one run, in RUN/ledger/<thousand>/.

    A listing may lag behind what workers have just written (object stores): who knows better tells
    it by `saw`, and where one marker is looked for the next revisions are asked for by name.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.folder = run / "ledger"
        self._seen: dict[tuple[int, str], int] = {}

    def saw(self, shard: int, unit: str, revision: int) -> None:
        """Somebody reports that this marker is there."""
        self._seen[shard, unit] = max(revision, self._seen.get((shard, unit), 0))

    def latest(self, shard: int, unit: str) -> Marker | None:
        """The newest revision of one unit's marker, or None while the unit is not done."""
        revision = max(self._listed(shard, unit), default=-1)
        revision = max(revision, self._seen.get((shard, unit), -1))
        while self._path(shard, unit, revision + 1).exists():
            revision += 1
        return self._read(self._path(shard, unit, revision)) if revision >= 0 else None

    def find(self, shard: int, unit: str, revision: int) -> Marker | None:
        """One revision of a marker, or None where it is not there."""
        return self._read(self._path(shard, unit, revision))

    def scan(self) -> Iterator[Marker]:
        """The newest marker of every unit, by shard. One folder's names are in memory at a time."""
        thousands = {name for name in files.names(self.folder) if name.isdigit()}
        thousands |= {self._prefix(shard).name for shard, _ in self._seen}
        for thousand in sorted(thousands):
            newest = self._newest(thousand)
            paths = [self._path(*unit, revision) for unit, revision in sorted(newest.items())]
            for start in range(0, len(paths), _TOGETHER):
                found = files.read_all(paths[start : start + _TOGETHER])
                yield from (Marker.from_bytes(content) for content in found if content is not None)

    def commit(self, marker: Marker, lease: Lease) -> bool:
        """Create the marker; False where the same revision was committed before.

        Raises:
            Refused: another writer has taken the run over since this one started.
        """
        lease.check()
        path = self._path(marker.shard, marker.unit, marker.revision)
        created = files.create(path, marker.to_bytes())
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
        for revision in self._listed(shard, unit):
            files.remove(self._path(shard, unit, revision))
        self._seen.pop((shard, unit), None)

    def prune(self, shards: Container[int], units: Container[str]) -> None:
        """Remove what belongs to other shards or units than these, and markers with a newer revision."""
        for thousand in files.names(self.folder):
            newest = self._newest(thousand)
            for name in files.names(self.folder / thousand):
                if name.startswith(files.TEMPORARY):
                    continue  # somebody's, or garbage
                found = _MARKER.fullmatch(name)
                unit = found["unit"] if found else None
                gone = int(name.partition("-")[0]) not in shards
                gone |= unit is not None and unit not in units
                old = found and int(found["revision"]) < newest[int(found["shard"]), found["unit"]]
                if gone or old:
                    files.remove(self.folder / thousand / name)

    def _newest(self, thousand: str) -> dict[tuple[int, str], int]:
        """The newest revision of every unit in one folder."""
        newest: dict[tuple[int, str], int] = {}
        for found in filter(None, map(_MARKER.fullmatch, files.names(self.folder / thousand))):
            unit, revision = (int(found["shard"]), found["unit"]), int(found["revision"])
            newest[unit] = max(revision, newest.get(unit, 0))
        for unit, revision in self._seen.items():
            if self._prefix(unit[0]).name == thousand:
                newest[unit] = max(revision, newest.get(unit, 0))
        return newest

    def _listed(self, shard: int, unit: str) -> list[int]:
        """The revisions of one unit that a listing shows."""
        names = files.names(self._prefix(shard), f"{shard:07d}-{unit}-")
        matches = filter(None, map(_MARKER.fullmatch, names))
        return [int(found["revision"]) for found in matches if found["unit"] == unit]

    def _read(self, path: Path) -> Marker | None:
        content = files.read_all([path])[0]
        return None if content is None else Marker.from_bytes(content)

    def _prefix(self, shard: int) -> Path:
        return self.folder / f"{shard // _PREFIX:05d}"

    def _path(self, shard: int, unit: str, revision: int) -> Path:
        return self._prefix(shard) / f"{shard:07d}-{unit}-{revision:04d}.json"

    def _attempts(self, shard: int, unit: str) -> list[Path]:
        folder = self._prefix(shard)
        return [folder / name for name in files.names(folder, f"{shard:07d}-{unit}.attempt-")]
