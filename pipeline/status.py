"""How far a run is: read from the plan and the ledger alone, without Ray."""

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import files, records
from pipeline.errors import PolyfuseError
from pipeline.index import manifests
from pipeline.ledger import Ledger
from pipeline.models import HEAD, PROGRESS, Record, trained_models
from pipeline.plan import Plan
from pipeline.saved import SavedRun, load_saved
from pipeline.todo import count_items
from pipeline.units import RECORDS, SPLIT, extract_unit, fuse_unit

_RECENT = 60.0  # seconds over which the rate is taken


@dataclass
class Stage:
    """One stage of the work: rows done of rows planned, items tried and failed."""

    name: str
    total: int
    done: int = 0
    tried: int = 0
    failed: int = 0
    rate: float = 0.0  # rows per second over the last minute
    errors: Counter[str] = field(default_factory=Counter)
    spent: dict[str, float] = field(default_factory=dict)  # seconds of all workers, by step

    @property
    def left(self) -> int:
        """Rows to do."""
        return self.total - self.done


@dataclass
class ModelStatus:
    """One model that learns. step: of the kept weights, or how far a training has come; valid: their loss."""

    name: str
    state: str  # trained | training | not trained
    step: int = 0
    steps: int = 0
    valid: float | None = None


@dataclass
class Status:
    """The whole run."""

    run: Path
    records: int
    outcomes: dict[str, int]
    stages: list[Stage]
    indexes: list[str]
    models: list[ModelStatus] = field(default_factory=list)

    @property
    def pending(self) -> int:
        """Records whose outcome is not known yet: records = ok + partial + failed + filtered + pending."""
        return self.records - sum(self.outcomes.values())

    @property
    def errors(self) -> Counter[str]:
        """All errors by reason."""
        return sum((stage.errors for stage in self.stages), Counter())


def read_status(run: Path, ledger: Ledger | None = None) -> Status:
    """Count everything once; the time is linear in the number of markers.

    ledger: of a command that knows of markers which a listing may not show yet.
    """
    saved = load_saved(run)
    plan = Plan.open(run / "plan")
    live = plan.live
    total = plan.totals.records
    wanted = {extract_unit(modality): saved.work(modality) for modality in saved.config.modalities}
    derived = [RECORDS, SPLIT] if trained_models(saved.config) else [RECORDS]
    names = [*wanted, *derived, *(fuse_unit(model) for model in saved.config.models)]
    stages = {name: Stage(name, total) for name in names}
    outcomes: Counter[str] = Counter({name: 0 for name in records.OUTCOMES})
    recent: Counter[str] = Counter()
    now = time.time()
    for marker in (ledger or Ledger(run)).scan():
        stage = stages.get(marker.unit)
        if (
            stage is None
            or marker.shard not in live
            or marker.work != wanted.get(marker.unit, marker.work)
        ):
            continue
        stage.done += marker.rows
        stage.errors.update(marker.errors)
        for step, seconds in marker.spent.items():
            stage.spent[step] = stage.spent.get(step, 0.0) + seconds
        if marker.unit in wanted:
            tried, failed = count_items(marker)
            stage.tried += tried
            stage.failed += failed
        if marker.unit == RECORDS:
            outcomes.update(records.count_outcomes(marker.states.get("outcome", "")))
        if now - marker.finished < _RECENT:
            recent[marker.unit] += marker.rows
    for name, rows in recent.items():
        stages[name].rate = rows / _RECENT
    models = [_model(run, saved, name) for name in trained_models(saved.config)]
    return Status(run, total, dict(outcomes), list(stages.values()), manifests.names(run), models)


def _model(run: Path, saved: SavedRun, name: str) -> ModelStatus:
    progress, record = run / "models" / name / PROGRESS, Record.read(run, name)
    with contextlib.suppress(PolyfuseError):  # none, or it has just finished
        now = files.read_json(progress)
        return ModelStatus(name, "training", now["step"], now["steps"], now["valid"])
    if record is None or record.trained is None or not (name == HEAD or name in saved.identities):
        return ModelStatus(name, "not trained")
    trained = record.trained
    return ModelStatus(name, "trained", trained.step, trained.steps, trained.valid)


def to_json(status: Status) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "format": files.FORMAT,
        "run": str(status.run),
        "records": status.records,
        "outcomes": status.outcomes,
        "pending": status.pending,
        "errors": dict(status.errors),
        "stages": [
            {
                "name": stage.name,
                "total": stage.total,
                "done": stage.done,
                "left": stage.left,
                "failed": stage.failed,
                "rate": round(stage.rate, 2),
                "errors": dict(stage.errors),
                "spent": {step: round(seconds, 3) for step, seconds in stage.spent.items()},
            }
            for stage in status.stages
        ],
        "models": [vars(model) for model in status.models],
        "indexes": status.indexes,
    }
