"""The audit: is everything that the ledger promises there, whole, and counted exactly once?

Checked, per shard and for the run: digests and row counts of every part; the accounting law,
records = ok + partial + failed + filtered (+ pending), each record exactly once and in the same
order in every folder; every missing vector explained by exactly one error row; index ids against
rows; models against the digests in their records. Ray is not needed.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from pipeline import files, garbage, intact, records
from pipeline.errors import PolyfuseError
from pipeline.index import manifests
from pipeline.index.build import verify_index
from pipeline.lease import Holder
from pipeline.ledger import FAILED, VECTOR, Ledger, Marker
from pipeline.models import HEAD, Record
from pipeline.plan import Plan, Shard
from pipeline.saved import SavedRun, load_saved
from pipeline.store import PartFile, Snapshot
from pipeline.todo import Standing, walk
from pipeline.units import RECORDS, extract_unit, restore_unit


@dataclass
class Audit:
    """What was looked at, and what is wrong (nothing, in a sound run)."""

    parts: int = 0
    records: int = 0
    pending: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    indexes: int = 0
    models: int = 0
    garbage: list[str] = field(default_factory=list)
    cleaned: int = 0
    problems: list[str] = field(default_factory=list)


def verify(run: Path, *, clean: bool = False) -> Audit:
    """Audit a run; with `clean`, also remove files that no marker names (takes the lease)."""
    saved = load_saved(run)
    plan = Plan.open(run / "plan")
    ledger = Ledger(run)
    audit = Audit(problems=[_damage(f"plan/{name}") for name in plan.damaged()])
    for standing in walk(plan, ledger):
        audit.problems += _check_shard(run, saved, standing, audit)
    # Markers of shards that were retired go with the garbage of the command that retired them.
    known = plan.live | plan.retired
    unknown = [number for number in ledger.shards() if number not in known]
    audit.problems += [f"ledger: shard {number} is not in the plan" for number in unknown]
    audit.problems += _check_snapshot(run)
    for name in manifests.names(run):
        audit.indexes += 1
        audit.problems += verify_index(run, name)
    for model in [*saved.config.models, HEAD]:
        audit.problems += _check_model(run, model, audit)
    if clean:
        with Holder(run):
            audit.cleaned = garbage.collect(run, ledger, plan, saved.config)
    audit.garbage = [
        path.relative_to(run).as_posix() for path in garbage.find(run, ledger, saved.config)
    ]
    return audit


def _check_shard(run: Path, saved: SavedRun, standing: Standing, audit: Audit) -> Iterator[str]:
    shard, units = standing.shard, standing.markers
    place = f"shard {shard.number}"
    damaged: set[str] = set()
    for marker in units.values():
        for part in marker.files:
            audit.parts += 1
            for problem in _check_part(run, part):
                damaged.add(part.name)
                path = Ledger(run).path(marker).relative_to(run)
                yield f"{problem}; remove {path} and `polyfuse run CONFIG` computes it again"
        if marker.rows != shard.rows:
            yield f"{place}, {marker.unit}: {marker.rows} rows, the plan has {shard.rows}"
    if RECORDS not in units:
        audit.pending += shard.rows
        audit.records += shard.rows
        return
    with contextlib.suppress(Exception) if damaged else contextlib.nullcontext():
        # A damaged part may hold anything: what of it can be read is looked at.
        yield from _check_accounting(run, saved, shard, units, audit)


def _check_part(run: Path, part: PartFile) -> Iterator[str]:
    path = run / part.folder / part.name
    if not path.is_file():
        yield f"{part.folder}/{part.name}: missing"
    elif files.sha256_of(path) != part.sha256:
        yield _damage(f"{part.folder}/{part.name}")
    elif intact.count_rows(path) != part.rows:
        yield f"{part.folder}/{part.name}: the marker says {part.rows} rows"


def _check_snapshot(run: Path) -> Iterator[str]:
    """The list of parts that readers go by; that it is of these parts, a commit saw to."""
    try:
        if (run / "snapshot.json").exists():
            Snapshot.latest(run).folders()
    except PolyfuseError as err:
        yield str(err)


def _damage(place: str) -> str:
    return f"{place}: missing, or its bytes are not those that were written (digest differs)"


def _check_accounting(
    run: Path, saved: SavedRun, shard: Shard, units: Mapping[str, Marker], audit: Audit
) -> Iterator[str]:
    place = f"shard {shard.number}"
    table = _read(run, units[RECORDS], "records")
    if table is None:
        return
    ids = table["record_id"].to_pylist()
    outcomes = Counter(table["outcome"].to_pylist())
    audit.records += len(ids)
    audit.outcomes.update(outcomes)
    if len(ids) != shard.rows or sum(outcomes[name] for name in records.OUTCOMES) != shard.rows:
        yield f"{place}: {shard.rows} records planned, {len(ids)} accounted for ({dict(outcomes)})"
    if len(set(ids)) != len(ids):
        yield f"{place}: a record_id occurs twice"
    present = table["present"].to_pylist()
    for modality in saved.config.modalities:
        marker = units.get(extract_unit(modality))
        if marker is None:
            yield f"{place}: records/ exists, but {modality} is not done"
            continue
        explained = _explained(run, marker)
        for feature in saved.config.features(modality):
            yield from _check_vectors(run, marker, feature.name, ids, present, explained)
    for model in saved.config.models:
        marker = units.get(restore_unit(model))
        if marker is not None:
            yield from _check_restored(run, marker, ids, present)


def _check_vectors(
    run: Path,
    marker: Marker,
    feature: str,
    ids: list[str],
    present: list[list[str]],
    explained: Counter[tuple[str, str]],
) -> Iterator[str]:
    place = f"shard {marker.shard}, {feature}"
    column = _read(run, marker, f"features/{feature}")
    if column is None:
        return
    if column["record_id"].to_pylist() != ids:
        yield f"{place}: other records than in records/"
        return
    valid = column["vector"].is_valid().to_pylist()
    states = marker.states.get(feature, "")
    if len(states) != len(valid):
        yield f"{place}: the marker says nothing of it"
        return
    for i, (letter, has) in enumerate(zip(states, valid, strict=True)):
        if has != (letter == VECTOR) or has != (feature in present[i]):
            yield f"{place}, record {ids[i]}: vector and state disagree"
        if explained[ids[i], feature] != (letter == FAILED):
            yield f"{place}, record {ids[i]}: not exactly one error for a failure"


def _check_restored(
    run: Path, marker: Marker, ids: list[str], present: list[list[str]]
) -> Iterator[str]:
    """A vector is restored where it was not measured, or nowhere."""
    for part in marker.files:
        table = _read(run, marker, part.folder)
        if table is None:
            continue
        place, feature = f"shard {marker.shard}, {part.folder}", part.folder.split("/", 2)[2]
        if table["record_id"].to_pylist() != ids:
            yield f"{place}: other records than in records/"
            continue
        valid = table["vector"].is_valid().to_pylist()
        for i, restored in enumerate(table["restored"].to_pylist()):
            if restored != valid[i] or (restored and feature in present[i]):
                yield f"{place}, record {ids[i]}: restored, and measured or without a vector"


def _explained(run: Path, marker: Marker) -> Counter[tuple[str, str]]:
    table = _read(run, marker, "errors")
    rows = table.select(["record_id", "feature"]).to_pylist() if table is not None else []
    return Counter((row["record_id"], row["feature"]) for row in rows)


def _check_model(run: Path, model: str, audit: Audit) -> Iterator[str]:
    try:
        record = Record.read(run, model)
    except PolyfuseError as err:
        yield str(err)
        return
    if record is None:
        return  # not fused or trained yet
    audit.models += 1
    for name in record.damaged(run / "models" / model):
        yield (
            f"models/{model}/{name}: missing, or its bytes are not those that were written; "
            "`polyfuse fit CONFIG` trains it anew"
        )


def _read(run: Path, marker: Marker, folder: str) -> pa.Table | None:
    part = marker.part(folder)
    if part is None or not (run / folder / part.name).exists():
        return None
    return intact.read(run / folder / part.name)
