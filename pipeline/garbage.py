"""Files that no current marker names: what killed workers and replaced revisions left."""

import os
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


def find(run: Path, ledger: Ledger) -> list[Path]:
    """Part files that are garbage, and temporary files and folders anywhere in the run."""
    named: dict[str, set[str]] = {}
    for marker in ledger.scan():
        for part in marker.files:
            named.setdefault(part.folder, set()).add(part.name)
    found: list[Path] = []
    for place, folders, names in os.walk(run):
        folder = Path(place)
        temporary = [name for name in [*folders, *names] if name.startswith(TEMPORARY)]
        folders[:] = sorted(set(folders).difference(temporary))
        found += [folder / name for name in temporary]
        relative = folder.relative_to(run)
        if relative.parts and relative.parts[0] in _PARTS:
            known = named.get(relative.as_posix(), set())
            found += [folder / name for name in names if _is_part(name) and name not in known]
    return sorted(found)


def _is_part(name: str) -> bool:
    return name.startswith("part-") and name.endswith(".parquet")


def collect(run: Path, ledger: Ledger, plan: Plan, config: RunConfig) -> int:
    """Remove the garbage; only the holder of the lease may. Returns how many files went.

    What a modality or model left that the configuration no longer has is garbage, too.
    """
    ledger.prune(plan.live, all_units(config))
    found = find(run, ledger)
    for path in found:
        disk.remove_tree(path) if path.is_dir() else disk.remove(path)
    return len(found)


def clear(folder: Path) -> None:
    """Forget everything in the run but the lease; nothing that is not ours is touched."""
    for name in _OURS:
        path = folder / name
        if path.is_dir():
            disk.remove_tree(path)
        else:
            disk.remove(path)
