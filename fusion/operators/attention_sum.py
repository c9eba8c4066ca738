"""Attention sum: project every feature, average with weights that depend on all of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import FusionOutput, Learned
from fusion.per_feature import ParameterPerFeature, PerFeature, linear
from fusion.presence import masked_softmax, stacked


class AttentionSum(Learned):
    """h = sum_m a_m (W_m x_m + b_m),  a = softmax over present m of (sum_n v_mn . x_n + c_m), n present.

    Any number of features: one score each, from all of them. An absent feature has weight 0 and is no
    input of the scores. All absent: the zero vector. weights: a. Bahdanau, Cho and Bengio, ICLR 2015,
    carried over from time steps to features.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector."""

        dim: int = 128

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or AttentionSum.Options()
        super().__init__(dims, options.dim, options)
        self.projection = linear(dims, options.dim)
        # v_mn kept apart by n, so that a new feature adds inputs without touching the old ones.
        self.score = PerFeature({m: linear(dims, 1, bias=False) for m in self.dims})
        self.bias = ParameterPerFeature({m: torch.zeros(1) for m in self.dims})

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim), weights (B, M)."""
        # Absent features are zeros, and these maps have no bias: they add nothing to a score.
        scores = {m: self.bias[m] + stacked(self.score[m](values)).sum(dim=1) for m in self.dims}
        weights = masked_softmax(stacked(scores)[..., 0], stacked(present))  # (B, M)
        projected = stacked(self.projection(values))  # (B, M, dim)
        return FusionOutput((weights[..., None] * projected).sum(dim=1), weights=weights)
