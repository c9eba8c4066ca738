"""Files that no current marker names: what killed workers and replaced revisions left."""

from collections.abc import Iterator
from pathlib import Path

from pipeline import disk
from pipeline.config import RunConfig
from pipeline.files import TEMPORARY
from pipeline.ledger import Ledger
from pipeline.plan import Plan
from pipeline.units import all_units

# All that a run may hold, but the lease.
_OURS = (
    "config.yaml plan ledger records features errors split fused restored models graph compare index "
    "snapshots snapshot.json report.html"
).split()
_PARTS = ("records", "errors", "features", "split", "fused", "restored")


def find(run: Path, ledger: Ledger) -> Iterator[Path]:
    """Part files that are garbage, and temporary files anywhere in the run."""
    named = {(part.folder, part.name) for marker in ledger.scan() for part in marker.files}
    for top in _PARTS:
        for path in sorted((run / top).rglob("part-*.parquet")):
            if (path.parent.relative_to(run).as_posix(), path.name) not in named:
                yield path
    for path in sorted(run.rglob(f"{TEMPORARY}*")):
        if path.is_file():
            yield path


def collect(run: Path, ledger: Ledger, config: RunConfig) -> int:
    """Remove the garbage; only the holder of the lease may. Returns how many files went.

    What a modality or model left that the configuration no longer has is garbage, too.
    """
    live = Plan.open(run / "plan").live
    ledger.prune(live, all_units(config))
    count = 0
    for path in list(find(run, ledger)):
        disk.remove(path)
        count += 1
    return count


def clear(folder: Path) -> None:
    """Forget everything in the run but the lease; nothing that is not ours is touched."""
    for name in _OURS:
        path = folder / name
        if path.is_dir():
            disk.remove_tree(path)
        else:
            disk.remove(path)
