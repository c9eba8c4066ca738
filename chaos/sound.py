"""What must hold of an attacked run: whole files at any moment, the bytes of a calm run at the end."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import Run, files
from pipeline.index import manifests
from pipeline.store import Snapshot
from pipeline.verify import verify

_TABLES = ("records", "errors", "features", "fused")


def partial(run: Path) -> Iterator[str]:
    """What a reader would find at this moment, and can't read: nothing, however the writer ended."""
    for path in run.rglob("*.parquet"):
        # A name that begins like this says that it is none yet; a folder's name says so of all in it.
        if files.TEMPORARY not in path.relative_to(run).as_posix():
            try:
                pq.read_table(path)
            except (OSError, pa.ArrowException) as err:
                yield f"{path.relative_to(run)} is there and can't be read: {err}"
    for path, size in _promised(run):
        if not path.exists() or path.stat().st_size != size:
            yield f"{path.relative_to(run)} is promised, and not there or not whole"


def _promised(run: Path) -> Iterator[tuple[Path, int]]:
    """Every file, and its bytes, that the snapshot and the indexes name."""
    if (run / "snapshot.json").exists():
        for row in pq.read_table(Snapshot.latest(run).manifest).to_pylist():
            yield run / row["folder"] / row["name"], row["bytes"]
    for folder in (run / "index").glob("*"):
        if version := manifests.current(folder):
            for name, wanted in manifests.read_manifest(version).files.items():
                yield version / name, wanted["bytes"]


def published(run: Path) -> dict[str, bytes]:
    """What a reader is shown: the parts that the snapshot names, ids and vectors of every index."""
    snapshot = Snapshot.latest(run)
    found = {
        f"{folder}/{part.path.name}": files.read(part.path)
        for folder in snapshot.folders()
        for part in snapshot.parts(folder)
    }
    for name in manifests.names(run):
        version = manifests.current(run / "index" / name)
        for file in manifests.FILES if version else ():
            found[f"{name}/{file}"] = files.read(version / file)
    return found


def contents(run: Path) -> dict[str, bytes]:
    """Every part, and of every index the ids and the vectors."""
    found = {
        path.relative_to(run).as_posix(): path.read_bytes()
        for top in _TABLES
        for path in (run / top).rglob("*.parquet")
    }
    for folder in (run / "index").iterdir():
        version = manifests.current(folder)
        for name in manifests.FILES if version else ():  # the manifest names a snapshot
            found[f"{folder.name}/{name}"] = (version / name).read_bytes()
    return found


def compared(attacked: Path, calm: Path) -> Iterator[str]:
    """Parts and indexes that differ from those of the calm run, or that only one of them has."""
    ours, theirs = contents(attacked), contents(calm)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{name} is not that of an undisturbed run"


def accounted(run: Path, source: Path, column: str = "id") -> Iterator[str]:
    """Records of a CSV source that a finished run lost, or has more than once, anywhere."""
    with source.open(newline="", encoding="utf-8") as file:
        wanted = Counter(row[column] for row in csv.DictReader(file))
    result = Run(run)
    found = {"records": result.records().to_table(columns=["record_id"])["record_id"].to_pylist()}
    for folder in [*(run / "features").iterdir(), *(run / "fused").iterdir()]:
        found[f"{folder.parent.name}/{folder.name}"] = result.vectors(folder.name)[0]
    for name, record_ids in found.items():
        counts = Counter(record_ids)
        if lost := wanted - counts:
            yield f"{name}: {lost.total()} records lost, {next(iter(lost))} the first"
        if more := counts - wanted:
            yield f"{name}: {more.total()} records too many, {next(iter(more))} the first"


def audited(run: Path) -> Iterator[str]:
    """What the run's own audit finds, files that nothing names included."""
    audit = verify(run)
    yield from (*audit.problems, *(f"{name} is left over" for name in audit.garbage))
