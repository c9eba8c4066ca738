"""One trial: an operator is trained for a label on records in memory and scored on the test part.

Every missing pattern is scored with the same weights. What a comparison is made of, and nothing that
knows where the records come from.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import fusion
from fusion import objectives
from fusion.base import Fusion
from fusion.batch import Batch, MemoryFeed
from fusion.learner import train
from fusion.objectives.prediction import Prediction, Predictor
from fusion.presence import any_step
from learning import metrics
from learning.loop import Recipe

# What a task is judged by; higher is better.
METRICS = {"classify": "accuracy", "regress": "R2", "multilabel": "micro F1"}

_ROWS = 1000  # records predicted at a time
_PRICED = 8  # steps that a price is measured by
_TIMED = 5  # passes, the fastest of which is the time of inference: noise only adds
_SUBSETS = 4  # with more features than this, only one alone and one left out


@dataclass(frozen=True)
class Candidate:
    """An operator and its options. inputs: the features it takes."""

    name: str
    inputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What is predicted: an objective with labels and its options."""

    objective: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Parts:
    """The records to learn from, to stop and calibrate by, and to be judged on."""

    train: Batch
    valid: Batch
    test: Batch

    def only(self, names: Sequence[str]) -> "Parts":
        """The same records with these features alone."""
        return Parts(*(_only(part, names) for part in (self.train, self.valid, self.test)))


@dataclass(frozen=True)
class Score:
    """How a trial went; higher metrics are better, none where no record could be judged.

    test: the metric on the test records as they are; valid: the same on the validation part.
    patterns: on the test records that have all features of a pattern, given these alone.
    milliseconds: to predict a thousand records. parameters: of operator and head.
    """

    test: float
    valid: float
    patterns: Mapping[str, float | None]
    parameters: int
    milliseconds: float
    steps: int
    seconds: float


def attempt(candidate: Candidate, task: Task, parts: Parts, recipe: Recipe) -> Score:
    """Build, train, calibrate, score. The seed of the recipe decides everything.

    Raises:
        ValueError: the candidate does not fit the records or the task.
        FloatingPointError: training diverged.
    """
    own = parts.only(candidate.inputs)
    fused, objective = assemble(candidate, task, dims_of(own.train), recipe.seed)
    start = time.perf_counter()
    history = train(fused, objective, MemoryFeed(own.train, own.valid, seed=recipe.seed), recipe)
    seconds = time.perf_counter() - start
    fused.eval(), objective.eval()

    def metric(batch: Batch) -> float | None:
        return judge(task, predict(fused, objective, batch), batch.targets)

    test, valid = metric(own.test), metric(own.valid)
    if test is None or valid is None:
        raise ValueError("no record of the validation or test part has a label")
    found = {}
    for pattern in patterns(list(parts.test.present)):
        shown = show(parts.test, pattern)
        found["+".join(pattern)] = metric(_only(shown, candidate.inputs)) if len(shown) else None
    modules = (fused, objective)
    return Score(
        test=test,
        valid=valid,
        patterns=found,
        parameters=sum(p.numel() for module in modules for p in module.parameters()),
        milliseconds=_timed(fused, objective, own.test),
        steps=history.points[-1].step if history.points else 0,
        seconds=seconds,
    )


def price(candidate: Candidate, task: Task, parts: Parts, recipe: Recipe) -> tuple[float, float]:
    """Seconds that an attempt with this recipe takes: once, and per step. Measured by a few steps."""
    own = parts.only(candidate.inputs)
    fused, objective = assemble(candidate, task, dims_of(own.train), recipe.seed)
    feed = MemoryFeed(own.train, own.valid, seed=recipe.seed)

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        train(fused, objective, feed, replace(recipe, steps=steps, evaluate=steps))
        return time.perf_counter() - start

    seconds(1)  # the first call of anything is slow
    once, more = seconds(1), seconds(1 + _PRICED)
    step = max(more - once, 0.0) / _PRICED
    start = time.perf_counter()
    predict(fused.eval(), objective.eval(), own.test)
    scoring = (time.perf_counter() - start) * (len(patterns(list(own.test.present))) + _TIMED)
    # Each look at the validation part costs about a third of as many steps: no backward pass.
    looks = recipe.steps / recipe.evaluate * step / 3 * len(own.valid) / recipe.batch
    return once + looks + scoring, step


def assemble(
    candidate: Candidate, task: Task, dims: Mapping[str, int], seed: int
) -> tuple[Fusion, Predictor]:
    """The operator with its head, or with the objective that it alone is trained by."""
    entry = fusion.FUSIONS[candidate.name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = fusion.build(candidate.name, dims, **candidate.options)
        if "labels" in entry.needs and entry.objective:
            objective = objectives.build(entry.objective, built)
        else:
            objective = objectives.build(task.objective, built, **task.options)
    if not isinstance(objective, Predictor):
        raise ValueError(f"objective {task.objective!r} predicts nothing that could be judged")
    return built, objective


def patterns(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The presence patterns to score, all features first; every subset where there are few."""
    names = sorted(names)
    few = len(names) <= _SUBSETS
    sizes = range(len(names), 0, -1) if few else [len(names), len(names) - 1, 1]
    return [chosen for size in sizes for chosen in itertools.combinations(names, size)]


def show(batch: Batch, names: Sequence[str]) -> Batch:
    """The records that have all of these features, every other feature hidden."""
    there = torch.stack([any_step(batch.present[name]) for name in names]).all(dim=0)
    chosen = batch.rows(there)
    present = {n: m if n in names else torch.zeros_like(m) for n, m in chosen.present.items()}
    return Batch(chosen.features, present, chosen.targets)


def predict(fused: Fusion, objective: Predictor, batch: Batch) -> Prediction:
    """The predictions of all records."""
    found = []
    with torch.inference_mode():
        for rows in torch.arange(len(batch)).split(_ROWS):
            own = batch.rows(rows)
            found.append(objective.predict(fused, own.features, own.present))
    probabilities = [p.probabilities for p in found if p.probabilities is not None]
    return Prediction(
        torch.cat([p.values for p in found]), torch.cat(probabilities) if probabilities else None
    )


def dims_of(batch: Batch) -> dict[str, int]:
    """The length of each feature."""
    return {name: tensor.shape[-1] for name, tensor in batch.features.items()}


def _timed(fused: Fusion, objective: Predictor, batch: Batch) -> float:
    rows = batch.rows(torch.arange(min(len(batch), _ROWS)))
    times = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        predict(fused, objective, rows)
        times.append(time.perf_counter() - start)
    return min(times) * 1000 * _ROWS / len(rows)


def _only(batch: Batch, names: Sequence[str]) -> Batch:
    return Batch(
        {name: batch.features[name] for name in names},
        {name: batch.present[name] for name in names},
        batch.targets,
    )


def judge(task: Task, found: Prediction, targets: Tensor | None) -> float | None:
    """The metric of METRICS for these predictions; None where no record has a label."""
    if targets is None:
        return None
    known = targets >= 0 if task.objective == "classify" else (~targets.isnan()).any(dim=1)
    if not known.any():
        return None
    scores, wanted = found.probabilities, targets[known]
    if task.objective == "regress" or scores is None:
        measured = metrics.regression(found.values[known], wanted, draws=1)
    elif task.objective == "classify":
        measured = metrics.classification(scores[known], wanted, draws=1)
    else:
        measured = metrics.multilabel(scores[known], wanted, draws=1)
    return measured[METRICS[task.objective]].value
