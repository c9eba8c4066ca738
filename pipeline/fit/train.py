"""What a training worker does: build, feed, train, publish. Alone, or as one of several."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

import fusion
from fusion import objectives
from fusion.base import Fusion
from fusion.learner import train
from fusion.objectives.base import Objective
from fusion.objectives.prediction import Predictor
from learning import parallel
from learning.loop import History, Point
from pipeline import files
from pipeline.fit.checkpoint import checkpoint_at
from pipeline.fit.data import Data
from pipeline.fit.feed import StoredFeed
from pipeline.fit.measure import measure
from pipeline.fit.recipe import Training
from pipeline.lease import Lease
from pipeline.models import HISTORY, METRICS, OBJECTIVE, PROGRESS, WEIGHTS, Record


@dataclass(frozen=True)
class Task:
    """One model to train; picklable.

    digest: of settings, data and number of workers; a checkpoint of another one is of no use.
    start: the model of the run whose weights it begins with. frozen: they stay as they are.
    label: the column of the labels.
    """

    run: Path
    model: str
    lease: Lease
    name: str
    dims: Mapping[str, int]
    options: Mapping[str, Any]
    objective: str
    objective_options: Mapping[str, Any]
    training: Training
    data: Data
    digest: str
    device: str = "cpu"
    start: str | None = None
    frozen: bool = False
    label: str = ""

    @property
    def folder(self) -> Path:
        """RUN/models/<model>."""
        return self.run / "models" / self.model

    @property
    def checkpoint(self) -> Path:
        """Where it goes on after a kill."""
        return self.folder / f"checkpoint-{self.digest}.safetensors"


@dataclass(frozen=True)
class Outcome:
    """What a finished training left: {file: sha256}, and how it went."""

    files: Mapping[str, str]
    dim: int
    history: History
    rows: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """As a file between processes holds it."""
        return files.to_json(dataclasses.asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Outcome":
        """What `to_json` gave."""
        return files.read_as(cls, path)


def train_model(task: Task) -> Outcome:
    """Train one model from the first step, or from its checkpoint, and publish its files.

    Every worker of a training calls this; the first one writes.

    Raises:
        PolyfuseError: nothing to train on, a loss that is not finite, or another writer took over.
    """
    torch.set_num_threads(1)
    feed = StoredFeed(task.data, seed=task.training.seed)
    with torch.random.fork_rng():
        torch.manual_seed(task.training.seed)
        model = fusion.build(task.name, task.dims, **task.options)
        if task.start is not None:
            folder = task.run / "models" / task.start
            model.load_state_dict(Record.known(folder).weights(folder, WEIGHTS))
        objective = objectives.build(task.objective, model, **task.objective_options)

    def report(point: Point) -> None:
        task.lease.check()
        if parallel.rank() == 0:
            files.publish(task.folder / PROGRESS, files.to_json(_progress(point, task.training)))

    checkpoint = checkpoint_at(task.checkpoint)
    history = train(
        model,
        objective,
        feed,
        task.training,
        frozen=task.frozen,
        checkpoint=checkpoint,
        report=report,
        device=task.device,
    )
    task.lease.check()
    contents = {
        WEIGHTS: save(_weights(model)),
        OBJECTIVE: save(_weights(objective)),
        HISTORY: files.to_json(dataclasses.asdict(history)),
    }
    if parallel.rank() == 0:
        contents |= _metrics(task, model, objective, feed, history)
        for name, content in contents.items():
            files.publish(task.folder / name, content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return Outcome(digests, model.dim, history, feed.rows)


def _metrics(
    task: Task, model: Fusion, objective: Objective, feed: StoredFeed, history: History
) -> dict[str, bytes]:
    """metrics.json, where the model predicts labels and the test part has any."""
    if not isinstance(objective, Predictor):
        return {}
    words = {
        "fusion": task.name,
        "inputs": ", ".join(task.dims),
        "options": _words(task.objective_options),
        "training": _words(dataclasses.asdict(task.training)),
    }
    found = measure(
        model,
        objective,
        feed,
        history,
        name=task.model,
        column=task.label,
        made=words,
        rows=task.training.batch,
        device=task.device,
    )
    return {METRICS: found.to_json().encode()} if found else {}


def _words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in options.items())


def _weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in module.state_dict().items()}


def _progress(point: Point, training: Training) -> dict[str, Any]:
    return {**dataclasses.asdict(point), "steps": training.steps}
