"""The power fails at every moment of a command: nothing half-done is seen, and the next command
ends with the bytes of an undisturbed one.

Every change to the disk is recorded once, then played back up to each moment, with what was not
synced lost, kept, or some of each. Thousands of moments; those that leave the same disk are tried once.
"""

import hashlib
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from simulated_disk import Recording, Tree, recorded, write_tree

from chaos.in_process import without_ray
from chaos.sound import published
from pipeline import config as configuration
from pipeline import disk, files, lease
from pipeline.index import manifests
from pipeline.index.opening import open_index
from pipeline.run import Options, run
from pipeline.store import Snapshot
from pipeline.verify import verify

ROWS = [f"r{i:02d},red thing {i},{'' if i % 5 == 4 else f'made of wood {i}'}" for i in range(40)]
EDITED = ["r03,a blue thing,made of glass", *ROWS[4:], "r99,last,paper"]


def source(folder: Path, rows: list[str]) -> None:
    (folder / "records.csv").write_text("\n".join(["sku,title,material", *rows]) + "\n")


def command(folder: Path, dim: int = 16, output: str = "run", **options) -> None:
    config = {
        "source": {"path": "records.csv", "id": "sku"},
        "modalities": {
            name: {"kind": "text", "encoder": {"name": "hashed-ngrams", "dim": dim}}
            for name in ("title", "material")
        },
        "output": output,
        "shard": {"records": 16},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    with without_ray():
        run(configuration.parse(config, folder), Options(**options))


def grown(folder: Path) -> None:
    source(folder, ROWS)
    command(folder, update=True)


def edited(folder: Path) -> None:
    source(folder, EDITED)
    command(folder, update=True)


def encoded_anew(folder: Path) -> None:
    command(folder, dim=24, update=True)


def began(folder: Path) -> None:
    source(folder, ROWS[:20])


def half(folder: Path) -> None:
    source(folder, ROWS[:20])
    command(folder)


def whole(folder: Path) -> None:
    source(folder, ROWS)
    command(folder)


SCENARIOS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "a first run": (began, whole),
    "rows were added": (half, grown),
    "rows were edited and removed": (whole, edited),
    "another encoder": (half, encoded_anew),
}


@contextmanager
def a_process_that_died() -> Iterator[None]:
    """Leases are taken by a process that is not there any more when the next one looks."""
    with pytest.MonkeyPatch.context() as patch:
        owner = lease._owner()
        patch.setattr(lease, "_owner", lambda: {**owner, "pid": 2**30, "started": "1"})
        yield


def look(run: Path) -> None:
    """A reader at the moment of the crash: what is there is whole."""
    if (run / "snapshot.json").exists():
        snapshot = Snapshot.latest(run)
        for folder in snapshot.folders():
            for part in snapshot.parts(folder):
                assert files.sha256_of(part.path) == part.sha256, part.path
    for name in manifests.names(run):
        opened = open_index(run, name, full=True)
        for part in opened.snapshot.parts(opened.manifest.folder):
            assert files.sha256_of(part.path) == part.sha256, part.path


def moments(recording: Recording) -> Iterator[Tree]:
    """The disk after a crash before and after every change."""
    dice = random.Random(0)
    for moment in range(recording.begun, len(recording.changes) + 1):
        yield recording.after(moment, None, 0)
        yield recording.after(moment, None, 1)
        for keep in (0.2, 0.5, 0.8, 0.95):
            yield recording.after(moment, dice, keep)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: thousands of small files come and go."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_any_moment_is_as_if_it_had_not_been(name, folder, monkeypatch):
    before, act = SCENARIOS[name]
    place = folder / "run"
    with a_process_that_died():
        place.mkdir()
        before(folder)
        with recorded(place) as recording:
            act(folder)
    calm = published(place)
    monkeypatch.setattr(disk, "sync", lambda path: None)  # what follows is never played back
    points, seen = 0, set()
    for tree in moments(recording):
        points += 1
        digest = hashlib.sha256(repr(sorted(tree.items())).encode()).digest()
        if digest in seen:
            continue
        seen.add(digest)
        write_tree(place, tree)
        look(place)
        act(folder)
        assert published(place) == calm
        audit = verify(place)
        assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)
        assert not list(place.rglob(f"{files.TEMPORARY}*"))
    assert points > 1_000
