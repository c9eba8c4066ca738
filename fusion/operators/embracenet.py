"""EmbraceNet: every coordinate of the fused vector is taken from one feature, drawn among those present."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import FusionOutput, Learned
from fusion.per_feature import linear
from fusion.presence import masked_mean, stacked


class EmbraceNet(Learned):
    """h_k = d_{m(k), k},  d_m = relu(W_m x_m + b_m),  m(k) drawn evenly among the present features.

    Drawn while training, from torch's generator; otherwise the expectation, the mean of the present
    d_m, so that a record always has the same vector. Any number of features. Absent features are
    never drawn. All absent: the zero vector. Choi and Lee, EmbraceNet, Information Fusion 2019.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector."""

        dim: int = 128

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or EmbraceNet.Options()
        super().__init__(dims, options.dim, options)
        self.docking = linear(dims, options.dim)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        docked = stacked(self.docking(values)).relu()  # (B, M, dim)
        there = stacked(present)
        if not self.training:
            return FusionOutput(masked_mean(docked, there))
        return FusionOutput(torch.where(_drawn(there, self.dim), docked, 0).sum(dim=1))


def _drawn(present: Tensor, dim: int) -> Tensor:
    """One present feature for every coordinate, none where there is none: (B, M) -> (B, M, dim) bool."""
    count = present.sum(dim=1, keepdim=True)  # (B, 1)
    chance = torch.rand(len(present), dim, device=present.device)
    # A chance just below 1 may round up to the count itself.
    chosen = torch.minimum((chance * count).long(), (count - 1).clamp_min(0))  # (B, dim)
    place = present.cumsum(dim=1) - 1  # the how manieth of the present ones a feature is
    return present[..., None] & (place[..., None] == chosen[:, None, :])
