"""The canonical directions of any number of features, missing ones included, by one pass over the data."""

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.linalg import cholesky, eigh, solve_triangular, svd

from learning import covariance
from learning.correlation import ridged
from learning.reduce import State

if TYPE_CHECKING:
    from fusion.batch import Batch
    from fusion.coordinated.base import Coordinated


class CanonicalReduction:
    """Solves (C - R) w = r R w / norm: C all covariances, R their blocks of one feature with a ridge.

    Two features: r are the canonical correlations. M features: r is the mean correlation of a
    direction's pairs. Each covariance is of the records that have both features.

    Args:
        model: whose projected features are analysed, and whose maps are installed.
        ridge: added to each R_m, times its mean variance.
        power: directions are scaled by r to this power.
    """

    def __init__(self, model: "Coordinated", *, ridge: float, power: float) -> None:
        self.model = model
        self.ridge = ridge
        self.power = power
        self.pairs = list(combinations_with_replacement(model.dims, 2))

    def empty(self) -> State:
        """No rows."""
        size = {name: len(self.model.maps[name].mean) for name in self.model.dims}
        return _flat({pair: covariance.empty(size[pair[0]], size[pair[1]]) for pair in self.pairs})

    def update(self, state: State, batch: "Batch") -> State:
        """Add the rows of one batch."""
        with torch.no_grad():
            values, present = self.model.inputs(batch.features, batch.present)
            projected = self.model.project(values)
        own = {}
        for one, other in self.pairs:
            both = present[one] & present[other]
            own[one, other] = covariance.of_rows(projected[one][both], projected[other][both])
        return self.merge(state, _flat(own))

    def merge(self, one: State, other: State) -> State:
        """The rows of both."""
        return _flat({p: covariance.merge(_of(one, p), _of(other, p)) for p in self.pairs})

    def finish(self, state: State) -> None:
        """Install the maps; a feature with fewer than two rows keeps the one it has."""
        found = {pair: _of(state, pair) for pair in self.pairs}
        names = [name for name in self.model.dims if found[name, name]["count"] >= 2]
        if len(names) < 2:
            return
        factors = {
            name: cholesky(ridged(covariance.covariance(found[name, name]), self.ridge))
            for name in names
        }
        directions, correlations = self._solve(names, factors, found)
        scale = correlations.clamp_min(0) ** self.power
        for name, part in zip(names, directions, strict=True):
            weight = solve_triangular(factors[name].T, part, upper=True) * scale
            self.model.maps[name].adopt(found[name, name]["left"], weight)

    def _solve(
        self, names: list[str], factors: dict[str, Tensor], found: dict[tuple[str, str], State]
    ) -> tuple[list[Tensor], Tensor]:
        """(E_m, D) directions of the whitened features, and (D,) correlations, largest first."""
        sizes = [len(factors[name]) for name in names]
        blocks = [[torch.zeros(a, b, dtype=torch.float64) for b in sizes] for a in sizes]
        for i, one in enumerate(names):
            for j, other in enumerate(names[i + 1 :], start=i + 1):
                shared = covariance.covariance(found[one, other])
                half = solve_triangular(factors[one], shared, upper=False)
                blocks[i][j] = solve_triangular(factors[other], half.T, upper=False).T
                blocks[j][i] = blocks[i][j].T
        dim = self.model.dim
        if len(names) == 2:  # the same, without the square of the larger side
            left, values, right = svd(blocks[0][1], full_matrices=False)
            values, vectors = values[:dim], torch.cat([left, right.T])[:, :dim]
        else:
            values, vectors = eigh(torch.cat([torch.cat(row, dim=1) for row in blocks]))
            values = values[-dim:].flip(0)
            vectors = vectors[:, -dim:].flip(1) * len(names) ** 0.5
        # An eigenvector's sign is free: the largest entry is positive, so that any worker finds the same.
        largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
        return list((vectors * largest.sign()).split(sizes)), values / (len(names) - 1)


def _flat(states: dict[tuple[str, str], State]) -> State:
    return {f"{a}\n{b}\n{key}": t for (a, b), own in states.items() for key, t in own.items()}


def _of(state: State, pair: tuple[str, str]) -> State:
    return {key: state["\n".join((*pair, key))] for key in ("count", "left", "right", "scatter")}
