"""Files that no current marker names: what killed workers and replaced revisions left."""

from collections.abc import Iterator
from pathlib import Path

from pipeline import bucket, files
from pipeline.config import RunConfig
from pipeline.files import TEMPORARY
from pipeline.index import manifests
from pipeline.ledger import Ledger
from pipeline.plan import Plan
from pipeline.units import all_units

# All that a run may hold, but the lease.
_OURS = (
    "config.yaml plan ledger records features errors split fused restored models graph compare index "
    "snapshots snapshot.json report.html"
).split()
_PARTS = ("records", "errors", "features", "split", "fused", "restored")


def find(run: Path, ledger: Ledger, config: RunConfig) -> Iterator[Path]:
    """Part files that are garbage, and temporary files and folders anywhere in the run."""
    named = {(part.folder, part.name) for marker in ledger.scan() for part in marker.files}
    for top in _PARTS:
        for path in files.below(run / top):
            part = (path.parent.relative_to(run).as_posix(), path.name)
            ours = path.name.startswith("part-")
            if ours and part not in named and not _is_named(part, ledger, config):
                yield path
    if not bucket.holds(run):  # there is nothing temporary in an object store
        yield from sorted(run.rglob(f"{TEMPORARY}*"))
    for name in manifests.names(run):
        yield from _unfinished(run / "index" / name)


def _is_named(part: tuple[str, str], ledger: Ledger, config: RunConfig) -> bool:
    """Asks for the markers themselves: the listing that a scan goes by may lag behind them."""
    shard = int(part[1].split("-")[1])
    markers = (ledger.latest(shard, unit) for unit in all_units(config))
    return any(part == (own.folder, own.name) for m in markers if m for own in m.files)


def _unfinished(index: Path) -> Iterator[Path]:
    """Versions of an index after the one that it points to: their builder died."""
    now = manifests.current(index)
    yield from (version for version in manifests.versions(index) if now and version.name > now.name)


def collect(run: Path, ledger: Ledger, plan: Plan, config: RunConfig) -> int:
    """Remove the garbage; only the holder of the lease may. Returns how many files went.

    What a modality or model left that the configuration no longer has is garbage, too.
    """
    ledger.prune(plan.live, all_units(config))
    count = 0
    for path in list(find(run, ledger, config)):
        files.remove_any(path)
        count += 1
    return count


def clear(folder: Path) -> None:
    """Forget everything in the run but the lease; nothing that is not ours is touched."""
    for name in _OURS:
        path = folder / name
        files.remove_any(path)
