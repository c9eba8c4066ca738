"""The ledger: one done marker per (shard, unit). A marker that exists is the only truth.

A unit is `extract.<modality>`, `records`, `split`, `fuse.<model>` or `restore.<model>`. Markers are
created exclusively: the first one wins, and as equal work gives equal bytes it does not matter who
was first. Work that is done again on purpose (retry, a changed encoder, new inputs) is the next
revision; the highest revision counts. Files that no current marker names are garbage.
"""

import base64
import zlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pipeline import disk, files
from pipeline.errors import PolyfuseError
from pipeline.lease import Lease
from pipeline.store import PartFile

# One letter per row in a marker's states.
VECTOR, ABSENT, FAILED, FILTERED = "v", ".", "x", "f"
_PREFIX = 1000  # shards per ledger folder
_DAMAGED = "remove it and run `polyfuse run CONFIG`: what it stood for is computed again"


@dataclass(frozen=True)
class Marker:
    """What one finished unit left behind.

    work: digest of what the unit was asked to do (identities, inputs); a unit is done when its
    newest marker has the digest that is wanted now. states: {feature: one letter per row}.
    errors: {reason: count}. seconds: time taken, for the summary only.
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

    def to_bytes(self) -> bytes:
        """The JSON file; states are deflated, for they are long and monotonous."""
        data = asdict(self)
        data["states"] = {name: _deflate(text) for name, text in self.states.items()}
        return files.to_json(data)

    @classmethod
    def read(cls, path: Path) -> "Marker":
        """A marker from its file.

        Raises:
            PolyfuseError: it is damaged.
        """
        stored = files.read_as(cls, path, _DAMAGED)
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
        for part in self.files:
            if part.folder == folder:
                return part
        raise PolyfuseError(
            f"the marker of {self.unit}, shard {self.shard}, names no part of {folder}"
        )


def _deflate(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _inflate(text: str) -> str:
    return zlib.decompress(base64.b64decode(text)).decode()


class Ledger:
    """The markers of one run, in RUN/ledger/<thousand>/."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.folder = run / "ledger"

    def latest(self, shard: int, unit: str) -> Marker | None:
        """The newest revision of one unit's marker, or None while the unit is not done."""
        paths = sorted(self._prefix(shard).glob(f"{shard:07d}-{unit}-[0-9][0-9][0-9][0-9].json"))
        return Marker.read(paths[-1]) if paths else None

    def scan(self) -> Iterator[Marker]:
        """The newest marker of every unit, by shard."""
        return (marker for marker, _ in self.scan_with_times())

    def scan_with_times(self) -> Iterator[tuple[Marker, float]]:
        """The same, with the time each marker was written. One folder's names are in memory at a time."""
        for prefix in sorted(self.folder.glob("[0-9]*")):
            newest: dict[str, str] = {}
            for path in sorted(prefix.glob("*.json")):
                unit, _, revision = path.stem.rpartition("-")
                newest[unit] = revision
            for unit, revision in newest.items():
                path = prefix / f"{unit}-{revision}.json"
                yield Marker.read(path), path.stat().st_mtime

    def commit(self, marker: Marker, lease: Lease) -> bool:
        """Create the marker; False where the same revision was committed before.

        Raises:
            Refused: another writer has taken the run over since this one started.
        """
        lease.check()
        created = files.create(self.path(marker), marker.to_bytes())
        for attempt in self._attempts(marker.shard, marker.unit):
            disk.remove(attempt)
        return created

    def attempt(self, shard: int, unit: str) -> int:
        """Note durably, before the work, that a try begins; returns which one it is, from 1.

        A try that ends in a commit removes the notes; those that remain killed their worker.
        """
        number = len(self._attempts(shard, unit)) + 1
        files.create(self._prefix(shard) / f"{shard:07d}-{unit}.attempt-{number:03d}", b"")
        return number

    def forget(self, shard: int, unit: str) -> None:
        """Drop the markers of a unit that is no longer worth having."""
        for path in self._prefix(shard).glob(f"{shard:07d}-{unit}-[0-9][0-9][0-9][0-9].json"):
            disk.remove(path)

    def prune(self, shards: Container[int], units: Container[str]) -> None:
        """Remove what belongs to other shards or units than these, and markers with a newer revision."""
        for prefix in self.folder.glob("[0-9]*"):
            newest: dict[tuple[str, str], Path] = {}
            for path in sorted(prefix.glob("[0-9]*")):
                shard, _, rest = path.stem.partition("-")
                unit = rest.rpartition("-")[0] if path.suffix == ".json" else None
                if int(shard) not in shards or (unit is not None and unit not in units):
                    disk.remove(path)
                elif unit is not None:
                    if (shard, unit) in newest:
                        disk.remove(newest[shard, unit])
                    newest[shard, unit] = path

    def _prefix(self, shard: int) -> Path:
        return self.folder / f"{shard // _PREFIX:05d}"

    def path(self, marker: Marker) -> Path:
        """Where a marker is, or will be."""
        name = f"{marker.shard:07d}-{marker.unit}-{marker.revision:04d}.json"
        return self._prefix(marker.shard) / name

    def _attempts(self, shard: int, unit: str) -> list[Path]:
        return list(self._prefix(shard).glob(f"{shard:07d}-{unit}.attempt-*"))
