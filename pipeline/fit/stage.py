"""Fitting one model of a run: is it trained as asked, and if not, train it and record that it is.

A model is trained again when what the configuration asks of it has changed: operator, options,
objective, recipe, inputs, labels, split. New data alone change nothing: every vector of the run
would become another, so that takes a person's word (`polyfuse fit --again`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fusion
from encoders.base import Identity
from fusion import objectives
from fusion.evaluation import Evaluation
from pipeline import files
from pipeline.cluster import Resources
from pipeline.errors import ConfigError
from pipeline.fit.data import Data, ShardParts
from pipeline.fit.labels import Labels
from pipeline.fit.place import run_training
from pipeline.fit.recipe import Training
from pipeline.fit.train import Outcome, Task
from pipeline.fuse import identity_settings
from pipeline.lease import Lease
from pipeline.models import (
    METRICS,
    WEIGHTS,
    Record,
    Trained,
    asked,
    needs_labels,
    roots,
    uses_labels,
    wanted,
)
from pipeline.progress import Progress
from pipeline.saved import SavedRun
from pipeline.todo import Standing
from pipeline.units import RECORDS, SPLIT


@dataclass(frozen=True)
class Fitting:
    """What fitting any model of one command shares. place: connects to Ray, gives what a worker asks for."""

    run: Path
    saved: SavedRun
    lease: Lease
    progress: Progress
    place: Callable[[], tuple[Resources, str]]
    again: bool = False

    def fit(self, model: str, shards: Iterable[Standing]) -> tuple[Record, bool]:
        """The record of the trained model, and whether it had to be trained for that."""
        config = self.saved.config
        digest = asked(config, model, self.saved.identities)
        assert digest is not None, f"{model} before its inputs"
        data = self._data(model, shards)
        record = Record.read(self.run, model)
        folder = self.run / "models" / model
        if record and record.trained and record.trained.asked == digest and not self.again:
            if not record.damaged(folder):
                self._settled(model, record.trained, data)
                return record, False
            self.progress.say(f"{model}: its files are not those that were written; trained anew")
        resources, device = self.place()
        task = self._task(model, digest, data, device)
        self._forget_checkpoints(folder, task.checkpoint)
        outcome = run_training(task, resources, self.progress)
        self.lease.check()
        record = self._record(task, outcome, digest)
        record.write(self.run, model)
        self._forget_checkpoints(folder)
        self._tell(model, record)
        return record, True

    def _settled(self, model: str, trained: Trained, data: Data) -> None:
        self._forget_checkpoints(self.run / "models" / model)
        if trained.data != data.digest:
            self.progress.say(
                f"{model}: the data have changed since it was trained; it stays as it is, and new "
                "records get vectors from it (`polyfuse fit CONFIG --again` trains it anew)"
            )

    def _data(self, model: str, standings: Iterable[Standing]) -> Data:
        config = self.saved.config
        shards = tuple(
            ShardParts(standing.inputs(config, model), standing.part(RECORDS), standing.part(SPLIT))
            for standing in standings
        )
        own = wanted(config, model)
        sequences = "sequences" in fusion.FUSIONS[own.name].needs
        data = Data(self.run, shards, tuple(roots(config, model)), sequences=sequences)
        if not uses_labels(config, model):
            return data
        supervised = needs_labels(config, model)
        return replace(data, labels=self._labels(data), supervised=supervised)

    def _labels(self, data: Data) -> Labels:
        label = self.saved.config.label
        assert label is not None, "the configuration was checked"
        return data.settle_labels(label)

    def _task(self, model: str, digest: str, data: Data, device: str) -> Task:
        own, labels = wanted(self.saved.config, model), data.labels
        assert own.objective is not None, f"{model} has nothing to train"
        objective = own.objective.name
        if labels:
            objective = labels.task if own.labelled else objective
            _check_task(model, objective, labels)
        training = Training(**own.training)
        return Task(
            run=self.run,
            model=model,
            lease=self.lease,
            name=own.name,
            dims={name: self.saved.identities[name].dim for name in own.inputs},
            options={**own.options, **_from(labels, fusion.options_type(own.name))},
            objective=objective,
            objective_options={
                **own.objective.options,
                **_from(labels, objectives.target(objective).Options),
            },
            training=training,
            data=data,
            digest=files.short_digest([digest, data.digest, training.workers]),
            device=device,
            start=own.start,
            frozen=own.frozen,
            label=self.saved.config.label.column if self.saved.config.label else "",
        )

    def _record(self, task: Task, outcome: Outcome, digest: str) -> Record:
        settings = identity_settings(task.options, task.dims, self.saved.identities)
        identity = Identity(task.name, outcome.dim, outcome.files[WEIGHTS], settings)
        history = outcome.history
        kept = next((p for p in history.points if p.step == history.best), None)
        labels = task.data.labels
        return Record(
            name=task.name,
            dims=task.dims,
            options=task.options,
            identity=identity,
            files=outcome.files,
            objective={"name": task.objective, "options": dict(task.objective_options)},
            labels={"task": labels.task, "classes": list(labels.classes)} if labels else None,
            trained=Trained(
                asked=digest,
                data=task.data.digest,
                steps=history.points[-1].step if history.points else 0,
                step=history.best,
                valid=kept.valid if kept else None,
                stopped_early=history.stopped_early,
                workers=task.training.workers,
                rows=outcome.rows,
            ),
            inputs=tuple(task.dims),
        )

    def _tell(self, model: str, record: Record) -> None:
        trained = record.trained
        assert trained is not None
        valid = "" if trained.valid is None else f", validation loss {trained.valid:.4f}"
        early = "; stopped early" if trained.stopped_early else ""
        self.progress.say(
            f"{model}: trained on {trained.rows['train']:,} records for {trained.steps:,} steps, "
            f"weights of step {trained.step:,}{valid}{early}"
        )
        if METRICS in record.files:
            path = self.run / "models" / model / METRICS
            found = Evaluation.from_json(files.read(path).decode()).metrics
            name, interval = next(iter(found.items()))
            self.progress.say(
                f"{model}: {name} {interval.value:.3f} on the test part "
                f"(95 %: {interval.low:.3f} to {interval.high:.3f})"
            )

    def _forget_checkpoints(self, folder: Path, keep: Path | None = None) -> None:
        for name in files.names(folder, "checkpoint-"):
            if folder / name != keep:
                files.remove(folder / name)


def _check_task(model: str, objective: str, labels: Labels) -> None:
    """What an objective with labels can be trained for: `experts`, and label terms, take classes."""
    wanted = objective if objective in ("regress", "multilabel") else "classify"
    if labels.task != wanted:
        raise ConfigError(
            f"models.{model}: {objective} is for labels to {wanted}, and these are to "
            f"{labels.task}; choose another objective, or say label.task: {wanted}"
        )


def _from(labels: Labels | None, options: type) -> dict[str, Any]:
    return labels.options(options) if labels else {}
