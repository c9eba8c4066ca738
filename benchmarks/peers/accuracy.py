"""Their classes as the fusion layer of AV-MNIST-Open: our recipe, our head, our folds and seeds.

A class of theirs knows no presence: an absent feature is zeros. It is trained twice, on complete records,
as it is meant, and with features hidden as ours have them hidden, which its user would have to write.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.avmnist import measure, recipe
from benchmarks.avmnist.dataset import DIGESTS
from benchmarks.avmnist.folds import DIMS, UNSEEN, Fold
from benchmarks.peers.adapters import Ours
from benchmarks.peers.checkouts import Checkouts
from benchmarks.peers.measure import timed
from benchmarks.peers.rivals import Rival, rivals
from fusion.base import FusionOutput, Learned

# How often each feature is hidden in training.
TRAININGS = {"complete": 0.0, "dropout": recipe.DROPOUT}
REPEATS = 99  # of steps that take a millisecond


class Theirs(Learned):
    """One of their classes behind our interface: features by name, standardised, zero where absent."""

    @dataclass(frozen=True)
    class Options:
        """None of ours."""

    def __init__(self, dims: Mapping[str, int], theirs: nn.Module) -> None:
        with torch.no_grad():
            dim = theirs([torch.zeros(2, dims[name]) for name in sorted(dims)]).shape[1]
        super().__init__(dims, dim, Theirs.Options())
        self.theirs = theirs

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        return FusionOutput(self.theirs([values[name] for name in self.dims]))


def setting(folder: Path) -> dict[str, Any]:
    """What numbers must share to be compared: as for ours, without the sizes of operators no peer has."""
    names = {rival.ours for rival in _rivals(folder).values()}
    common = measure.setting()["recipe"]
    sizes = {name: own for name, own in common["sizes"].items() if name in names}
    pairs = {name: DIGESTS[name] for name in UNSEEN}
    return {"recipe": common | {"sizes": sizes}, "pairs": pairs}


def rows(
    folder: Path, found: Sequence[Fold], seeds: int, workers: int, results: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """What is not among `results` yet, one row per (name, fold, seed, training), as they are finished."""
    there = {
        tuple(row[key] for key in ("name", "fold", "seed", "training")) for row in results["rows"]
    }
    keys = [
        (rival.name, fold.name, seed, training)
        for seed in range(seeds)
        for rival in rivals(Checkouts(folder))
        for training in TRAININGS
        for fold in found
    ]
    wanted = [key for key in keys if key not in there]
    yield from measure.rows(found, wanted, workers, functools.partial(_row, folder))


def _row(folder: Path, name: str, fold: Fold, seed: int, training: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = Theirs(DIMS, _module(_rivals(folder)[name]))
    head = recipe.classifier(model, TRAININGS[training])
    own = {"name": name, "fold": fold.name, "seed": seed, "training": training}
    try:
        trained = recipe.fit(model, head, fold, seed)
    except FloatingPointError as error:
        return own | {"failed": str(error)}
    counts = {"parameters": trained.parameters(), "seconds": trained.seconds}
    return own | recipe.score(trained, fold.test) | counts


@functools.cache
def _rivals(folder: Path) -> dict[str, Rival]:
    return {rival.name: rival for rival in rivals(Checkouts(folder))}


def _module(rival: Rival) -> nn.Module:
    return rival.build(recipe.operator(rival.ours).options)


def costs(folder: Path, fold: Fold) -> dict[str, Any]:
    """{our operator: {name: `timed`}} on a batch of the fold; those of one operator take turns."""
    torch.manual_seed(0)
    groups: dict[str, dict[str, nn.Module]] = {}
    for rival in _rivals(folder).values():
        group = groups.setdefault(rival.ours, {"ours": Ours(recipe.operator(rival.ours))})
        group[rival.name] = _module(rival)
    batch = fold.train.rows(torch.arange(recipe.RECIPE.batch))
    values = [_standardised(batch.features[name]) for name in sorted(DIMS)]
    return {name: timed(group, values, REPEATS) for name, group in groups.items()}


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean(dim=0)) / values.std(dim=0)
