"""How a trained predictor does on records it has never seen: one JSON document.

A run keeps it beside the weights; the page of a head shows it and computes nothing.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fusion.objectives.prediction import Prediction
from learning import metrics
from learning.loop import History
from learning.metrics import Bin, Measured

FORMAT = 1
PATTERNS = 16  # the most frequent ones are listed
CONFUSIONS = 1000  # the most frequent ones are kept


@dataclass(frozen=True)
class Confusion:
    """Records of class `true` that were taken for class `predicted`; equal: those that were right."""

    true: str
    predicted: str
    rows: int


@dataclass(frozen=True)
class Pattern:
    """The test records that have exactly these features, measured alone."""

    present: tuple[str, ...]
    rows: int
    metrics: dict[str, Measured]


@dataclass(frozen=True)
class Evaluation:
    """The document.

    task: classify, regress or multilabel. classes: their names in order; of the outputs for regress.
    rows: how many labelled records each part had: train, valid, test. metrics: on the test part, by
    name (see `learning.metrics`). confusions: most frequent first, classify only. reliability: the
    confidence of the likeliest class (of every label for multilabel). curve: the looks at the
    training, (step, training loss, validation loss or None). made: how the head was made, words for
    a person: name, inputs, options, recipe.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    rows: dict[str, int]
    metrics: dict[str, Measured]
    patterns: tuple[Pattern, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    reliability: tuple[Bin, ...] = ()
    curve: tuple[tuple[int, float, float | None], ...] = ()
    best: int = 0
    made: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        """The document; `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Evaluation":
        """The document again.

        Raises:
            ValueError: another format.
        """
        raw = json.loads(text)
        if raw.get("format") != FORMAT:
            raise ValueError(
                f"expected an evaluation of format {FORMAT}, got {raw.get('format')}: evaluate again"
            )
        return cls(
            **raw
            | {
                "classes": tuple(raw["classes"]),
                "metrics": _measured(raw["metrics"]),
                "patterns": tuple(
                    Pattern(tuple(p["present"]), p["rows"], _measured(p["metrics"]))
                    for p in raw["patterns"]
                ),
                "confusions": tuple(Confusion(**c) for c in raw["confusions"]),
                "reliability": tuple(Bin(**b) for b in raw["reliability"]),
                "curve": tuple(tuple(point) for point in raw["curve"]),
            }
        )


def evaluate(
    prediction: Prediction,
    targets: Tensor,
    present: Mapping[str, Tensor],
    *,
    name: str,
    task: str,
    classes: Sequence[str],
    rows: Mapping[str, int],
    history: History | None = None,
    made: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measure predictions of the whole test part.

    Args:
        prediction: of N records, on the CPU.
        targets: as the objective takes them; records without a label count nowhere.
        present: present[feature] is (N,) bool.
        rows: {"train": .., "valid": ..}: what it was trained and calibrated on.

    Raises:
        ValueError: no labelled record.
    """
    known = (
        targets >= 0 if task == "classify" else ~targets.isnan().reshape(len(targets), -1).all(1)
    )
    prediction, targets = _rows(prediction, known), targets[known]
    features = sorted(present)
    there = torch.stack([present[feature][known] for feature in features], dim=1)
    history = history or History()
    return Evaluation(
        name=name,
        task=task,
        classes=tuple(classes),
        rows={**rows, "test": len(targets)},
        metrics=measure(task, prediction, targets),
        patterns=_patterns(task, prediction, targets, features, there),
        confusions=_confusions(prediction, targets, classes) if task == "classify" else (),
        reliability=_reliability(task, prediction, targets),
        curve=tuple((p.step, p.train, p.valid) for p in history.points),
        best=history.best,
        made=dict(made or {}),
    )


def measure(task: str, prediction: Prediction, targets: Tensor) -> dict[str, Measured]:
    """The metrics of a task."""
    if task == "regress":
        return metrics.regression(prediction.values, targets.reshape(prediction.values.shape))
    assert prediction.probabilities is not None, f"{task} gives probabilities"
    found = metrics.classification if task == "classify" else metrics.multilabel
    return found(prediction.probabilities, targets)


def _rows(prediction: Prediction, chosen: Tensor) -> Prediction:
    probabilities = prediction.probabilities
    return Prediction(
        prediction.values[chosen], None if probabilities is None else probabilities[chosen]
    )


def _patterns(
    task: str, prediction: Prediction, targets: Tensor, features: Sequence[str], there: Tensor
) -> tuple[Pattern, ...]:
    """Records with the same features, the most frequent pattern first."""
    kinds, number, counts = there.unique(dim=0, return_inverse=True, return_counts=True)
    found = []
    for i in counts.argsort(descending=True, stable=True)[:PATTERNS].tolist():
        names = tuple(name for name, has in zip(features, kinds[i].tolist(), strict=True) if has)
        own = number == i
        measured = measure(task, _rows(prediction, own), targets[own])
        found.append(Pattern(names, int(counts[i]), measured))
    return tuple(found)


def _confusions(
    prediction: Prediction, targets: Tensor, classes: Sequence[str]
) -> tuple[Confusion, ...]:
    pairs, counts = torch.stack([targets.long(), prediction.values], dim=1).unique(
        dim=0, return_counts=True
    )
    order = counts.argsort(descending=True, stable=True)[:CONFUSIONS].tolist()
    return tuple(
        Confusion(classes[int(pairs[i, 0])], classes[int(pairs[i, 1])], int(counts[i]))
        for i in order
    )


def _reliability(task: str, prediction: Prediction, targets: Tensor) -> tuple[Bin, ...]:
    if prediction.probabilities is None:
        return ()
    if task == "classify":
        confidence = prediction.probabilities.amax(dim=1)
        return tuple(metrics.reliability(confidence, prediction.values == targets))
    known = ~targets.isnan()
    return tuple(metrics.reliability(prediction.probabilities[known], targets[known] == 1))


def _measured(raw: Mapping[str, Mapping[str, float]]) -> dict[str, Measured]:
    return {name: Measured(**numbers) for name, numbers in raw.items()}
