"""One recipe for every operator: the objective `classify` with one hidden layer, modality dropout.

The hidden layer is there for all, so that an operator that is linear in its features is not judged
by a linear classifier of four image components.
"""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fusion
from benchmarks.avmnist.folds import DIMS, Fold
from fusion import objectives
from fusion.base import Fusion, FusionOutput, Learned
from fusion.batch import Batch, MemoryFeed
from fusion.learner import train
from fusion.objectives.dropout import drop
from fusion.objectives.prediction import Predictor
from learning.loop import Recipe

CLASSES = 10
DIM, HIDDEN = 64, (64,)  # of the fused vector, of the classifier's one layer
DROPOUT, SMOOTHING = 0.4, 0.05
# Short and with strong decay: longer, the models learn five speakers by heart, which validation on
# other recordings of the same five does not show.
RECIPE = Recipe(steps=800, batch=256, learning_rate=3e-3, weight_decay=0.3, evaluate=400)
RATES = tuple(i / 10 for i in range(10))  # of missing features, at least one of a record staying
PATTERNS = {"full": ("image", "sound"), "image": ("image",), "sound": ("sound",)}


BASELINES = {
    "image alone": "the same recipe on one feature",
    "sound alone": "the same recipe on one feature",
    "zero-filled": "concatenation trained on complete records, zero where a feature is missing",
    "mean-filled": "the same, the mean of the training part where a feature is missing",
}
# Where the default size is meant for features of hundreds of dimensions.
SIZES: dict[str, dict[str, Any]] = {
    "deep-set": {"hidden": 64},
    "compact-bilinear": {"sketch": 1024},
    "mlb": {"hidden": 64},
    "tucker": {"hidden": 32},
    "mutan": {"hidden": 64},
    "block": {"chunks": 4, "size": 16},
    "block-tucker": {"chunks": 4, "size": 16},
    "mbt": {"width": 32},
    "cross-attention": {"width": 32, "layers": 1},
    "decision-mean": {"hidden": DIM},
    "decision-product": {"hidden": DIM},
}


class MeanFilled(Learned):
    """[x_1, ..., x_M] standardised, so that the zero of an absent feature is its mean."""

    @dataclass(frozen=True)
    class Options:
        """None."""

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        super().__init__(dims, sum(dims.values()), options or MeanFilled.Options())

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, sum of D_name)."""
        return FusionOutput(torch.cat(list(values.values()), dim=1))


@dataclass(frozen=True)
class Trained:
    """A finished model: `fusion` gives vectors, `head` classes."""

    fusion: Fusion
    head: Predictor
    seconds: float

    def parameters(self) -> int:
        """Numbers that were learned, the classifier's included."""
        parts = (self.fusion, self.head)
        return sum(p.numel() for part in parts for p in part.parameters())


def fitted(name: str, fold: Fold, seed: int, recipe: Recipe = RECIPE) -> Trained:
    """An operator, or a baseline, trained on a fold."""
    torch.manual_seed(seed)
    return fit(*_built(name), fold, seed, recipe)


def fit(model: Fusion, head: Predictor, fold: Fold, seed: int, recipe: Recipe = RECIPE) -> Trained:
    """Any fusion of these features and its head, trained on a fold."""
    feed = MemoryFeed(_narrowed(fold.train, model), every_pattern(fold.valid, model), seed=seed)
    started = time.process_time()
    train(model, head, feed, dataclasses.replace(recipe, seed=seed))
    return Trained(model, head, time.process_time() - started)


def classifier(model: Fusion, dropout: float) -> Predictor:
    """The head of every fusion. dropout: how often each feature is hidden in training."""
    return objectives.build(
        "classify",
        model,
        classes=CLASSES,
        hidden=HIDDEN,
        label_smoothing=SMOOTHING,
        dropout=dropout,
    )


def operator(name: str) -> Fusion:
    """One of `FUSIONS` in the size it has here."""
    shared = {"dim": DIM, "classes": CLASSES}
    known = {field.name for field in dataclasses.fields(fusion.options_type(name))}
    options = {key: value for key, value in shared.items() if key in known} | SIZES.get(name, {})
    return fusion.build(name, DIMS, **options)


def _built(name: str) -> tuple[Fusion, Predictor]:
    if name in BASELINES:
        model = _baseline(name)
        return model, classifier(model, dropout=0.0)
    model = operator(name)
    if fusion.FUSIONS[name].objective == "experts":
        return model, objectives.build("experts", model)
    return model, classifier(model, DROPOUT)


def _baseline(name: str) -> Fusion:
    if name.endswith(" alone"):
        feature = name.removesuffix(" alone")
        return fusion.build("sum", {feature: DIMS[feature]}, dim=DIM)
    return fusion.build("stack", DIMS) if name == "zero-filled" else MeanFilled(DIMS)


def every_pattern(batch: Batch, model: Fusion) -> Batch:
    """The records once complete and once with each feature alone: what one checkpoint must serve."""
    kept = [names for names in PATTERNS.values() if set(names) <= set(model.dims)]
    return Batch(
        {name: batch.features[name].repeat(len(kept), 1) for name in model.dims},
        {
            name: torch.cat([batch.present[name] & (name in names) for names in kept])
            for name in model.dims
        },
        None if batch.targets is None else batch.targets.repeat(len(kept)),
    )


def _narrowed(batch: Batch, model: Fusion) -> Batch:
    return Batch(
        {name: batch.features[name] for name in model.dims},
        {name: batch.present[name] for name in model.dims},
        batch.targets,
    )


def score(model: Trained, test: Batch) -> dict[str, Any]:
    """Accuracies in percent, see `summary`."""
    own = {
        pattern: _right(model, test, names)
        for pattern, names in PATTERNS.items()
        if set(names) <= set(model.fusion.dims)
    }
    return summary(own)


def summary(right: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """right[pattern]: (N,) bool. Percent right of each, and `missing` with 0 to 90 % of the features."""
    found: dict[str, Any] = {pattern: 100 * float(own.mean()) for pattern, own in right.items()}
    if len(right) == len(PATTERNS):
        found["missing"] = [100 * float(_at(rate, right).mean()) for rate in RATES]
    return found


def area(accuracies: list[float]) -> float:
    """The mean height of the curve over 0 to 90 % missing (trapezoids)."""
    return float(np.trapezoid(accuracies, RATES) / (RATES[-1] - RATES[0]))


def _right(model: Trained, test: Batch, names: tuple[str, ...]) -> np.ndarray:
    own = _narrowed(test, model.fusion)
    present = {name: own.present[name] & (name in names) for name in own.present}
    with torch.no_grad():
        said = model.head.predict(model.fusion, own.features, present).values
    return (said == test.targets).numpy()


def _at(rate: float, right: Mapping[str, np.ndarray]) -> np.ndarray:
    """Each record under the pattern it has at this rate; the same records for every operator."""
    rows = len(right["full"])
    everything = {name: torch.ones(rows, dtype=torch.bool) for name in DIMS}
    with torch.random.fork_rng():
        torch.manual_seed(round(100 * rate))
        left = drop(everything, rate)
    image, sound = left["image"].numpy(), left["sound"].numpy()
    return np.where(image & sound, right["full"], np.where(image, right["image"], right["sound"]))
