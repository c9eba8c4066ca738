"""Files that no current marker names: what killed workers and replaced revisions left."""

from pathlib import Path

from pipeline import files
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


def find(run: Path, ledger: Ledger, config: RunConfig) -> list[Path]:
    """Part files that are garbage, temporary files and folders, and indexes that nobody finished."""
    named: dict[str, set[str]] = {}
    for marker in ledger.scan():
        for part in marker.files:
            named.setdefault(part.folder, set()).add(part.name)
    found: list[Path] = []
    for path in files.below(run):
        if path.name.startswith(TEMPORARY):
            found.append(path)
            continue
        folder = path.parent.relative_to(run).as_posix()
        if folder.partition("/")[0] in _PARTS and _is_part(path.name):
            known = path.name in named.get(folder, ())
            if not known and not _is_named(folder, path.name, ledger, config):
                found.append(path)
    for name in manifests.names(run):
        found += _unfinished(run / "index" / name)
    return sorted(found)


def _is_part(name: str) -> bool:
    return name.startswith("part-") and name.endswith(".parquet")


def _is_named(folder: str, name: str, ledger: Ledger, config: RunConfig) -> bool:
    """Asks for the markers themselves: the listing that a scan goes by may lag behind them."""
    shard = int(name.split("-")[1])
    markers = (ledger.latest(shard, unit) for unit in all_units(config))
    return any((folder, name) == (own.folder, own.name) for m in markers if m for own in m.files)


def _unfinished(index: Path) -> list[Path]:
    """Versions of an index after the one that it points to: their builder died."""
    now = manifests.current(index)
    return [version for version in manifests.versions(index) if now and version.name > now.name]


def collect(run: Path, ledger: Ledger, plan: Plan, config: RunConfig) -> int:
    """Remove the garbage; only the holder of the lease may. Returns how many files went.

    What a modality or model left that the configuration no longer has is garbage, too.
    """
    ledger.prune(plan.live, all_units(config))
    found = find(run, ledger, config)
    for path in found:
        files.remove_any(path)
    return len(found)


def clear(folder: Path) -> None:
    """Forget everything in the run but the lease; nothing that is not ours is touched."""
    for name in _OURS:
        path = folder / name
        files.remove_any(path)
