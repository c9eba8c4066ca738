"""Standardised inputs: stored features differ in scale by orders of magnitude, operators must not care.

Mean and deviation come from one pass over the training part and are stored with the weights.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fusion.presence import masked
from learning import moments
from learning.reduce import State

if TYPE_CHECKING:
    from fusion.base import Learned
    from fusion.batch import Batch


class Standardise(nn.Module):
    """(x - mean) / deviation per coordinate; the identity until `adopt`. (..., D) -> (..., D)"""

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def forward(self, values: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return (values - self.mean).div_(self.deviation)

    def restore(self, values: Tensor) -> Tensor:
        """The inverse: standardised values in the units of the stored feature."""
        return values * self.deviation + self.mean

    def adopt(self, mean: Tensor, variance: Tensor) -> None:
        """Use these. A coordinate that never varies is only centred."""
        deviation = variance.clamp_min(0).sqrt()
        constant = deviation <= 1e-6 * mean.abs().clamp_min(1e-6)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(constant, 1.0, deviation))


class ScalingReduction:
    """Finds mean and deviation of the present rows of every feature and installs them in the model."""

    def __init__(self, model: "Learned") -> None:
        self.model = model

    def empty(self) -> State:
        """No rows."""
        return _flat({name: moments.empty(dim) for name, dim in self.model.dims.items()})

    def update(self, state: State, batch: "Batch") -> State:
        """Add the present rows of one batch: what the model sees of a sequence, its mean or its steps."""
        values, present = masked(
            self.model.dims, batch.features, batch.present, sequences=self.model.takes_sequences
        )
        own = {name: moments.of_rows(values[name][present[name]]) for name in values}
        return self.merge(state, _flat(own))

    def merge(self, one: State, other: State) -> State:
        """The rows of both."""
        return _flat({n: moments.merge(_of(one, n), _of(other, n)) for n in self.model.dims})

    def finish(self, state: State) -> None:
        """Install; a feature that was never present keeps the identity."""
        for name in self.model.dims:
            found = _of(state, name)
            if found["count"] > 0:
                variance = found["scatter"] / found["count"]
                self.model.scaling[name].adopt(found["mean"], variance)


def _flat(states: dict[str, State]) -> State:
    return {f"{name}/{key}": value for name, own in states.items() for key, value in own.items()}


def _of(state: State, name: str) -> State:
    return {key: state[f"{name}/{key}"] for key in ("count", "mean", "scatter")}
