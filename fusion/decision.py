"""Late fusion: every feature has its own calibrated classifier, and their opinions are combined.

B records, M features, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from fusion.base import FusionOutput, Learned
from fusion.batch import Batch
from fusion.per_feature import PerFeature
from fusion.presence import stacked
from learning.mlp import MLP
from learning.reduce import Reduction, State


class Expert(nn.Module):
    """log softmax(network(x) / T): (B, D) -> (B, K). T: found on the validation part."""

    temperature: Tensor

    def __init__(self, size: int, hidden: Sequence[int], classes: int) -> None:
        super().__init__()
        self.network = MLP(size, hidden, classes)
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, values: Tensor) -> Tensor:
        """(B, D) -> (B, K)."""
        return log_softmax(self.network(values) / self.temperature, dim=1)


class Decision(Learned):
    """vector = log probabilities (B, K): of the combined experts, or of the prior where nothing is there.

    Where two or more features are combined, the result has a temperature of its own: experts that
    know the same things are surer together than they should be. A single feature is its expert's
    calibrated opinion, unchanged. weights: even over the present features.
    """

    extensible = True
    log_prior: Tensor
    temperature: Tensor

    @dataclass(frozen=True)
    class Options:
        """classes: how many. hidden: width of the one hidden layer of each classifier; 0: linear."""

        classes: int
        hidden: int = 128

    def __init__(self, dims: Mapping[str, int], options: Options) -> None:
        super().__init__(dims, options.classes, options)
        hidden = [options.hidden] if options.hidden else []
        self.experts = PerFeature(
            {name: Expert(dims[name], hidden, options.classes) for name in sorted(dims)}
        )
        prior = torch.full((options.classes,), 1 / options.classes)
        self.register_buffer("log_prior", prior.log())
        self.register_buffer("temperature", torch.ones(()))

    def combine(self, opinions: Tensor, present: Tensor) -> Tensor:
        """Log probabilities (B, M, K) of experts, at least one of which is present (B, M) -> (B, K).

        Up to a constant per record.
        """
        raise NotImplementedError

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, K), weights (B, M)."""
        opinions, there = stacked(self.experts(values)), stacked(present)
        count = there.sum(dim=1, keepdim=True)
        # Where nothing is there, anything may be combined: it is not used and stays finite.
        joint = self.combine(opinions, there | (count == 0))
        joint = log_softmax(joint / torch.where(count > 1, self.temperature, 1), dim=1)
        vector = torch.where(count > 0, joint, self.log_prior)
        return FusionOutput(vector, weights=there / count.clamp_min(1))

    def reductions(self) -> list[Reduction]:
        """Mean and deviation of the inputs; how frequent each class is."""
        return [*super().reductions(), PriorReduction(self)]


class PriorReduction:
    """Counts the classes of the training part, one more of each, so that none is impossible."""

    def __init__(self, model: Decision) -> None:
        self.model = model

    def empty(self) -> State:
        """No rows."""
        return {"counts": torch.zeros(self.model.dim, dtype=torch.float64)}

    def update(self, state: State, batch: Batch) -> State:
        """Add the labelled rows of one batch; -1 is no label."""
        if batch.targets is None:
            return state
        known = batch.targets[batch.targets >= 0].long().cpu()
        return {"counts": state["counts"] + torch.bincount(known, minlength=self.model.dim)}

    def merge(self, one: State, other: State) -> State:
        """The rows of both."""
        return {"counts": one["counts"] + other["counts"]}

    def finish(self, state: State) -> None:
        """Install the prior."""
        counts = state["counts"] + 1
        self.model.log_prior.copy_((counts / counts.sum()).log())
