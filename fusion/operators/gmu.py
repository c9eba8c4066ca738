"""Gated multimodal unit: every feature's gate decides, coordinate by coordinate, how much it counts."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import FusionOutput, Learned
from fusion.per_feature import ParameterPerFeature, PerFeature, linear
from fusion.presence import stacked, where_present


class GMU(Learned):
    """h = sum_m z_m * tanh(W_m x_m + b_m) / sum_m z_m,  z_m = sigmoid(sum_n U_mn x_n + c_m), m, n present.

    Any number of features: one gate each. Two features with z and 1 - z are the paper's bimodal unit;
    normalising by the present gates carries it over to more of them and to missing ones. An absent
    feature has gate 0 and is no input of the other gates. All absent: the zero vector.
    weights: the mean gate of each feature. Arevalo, Solorio, Montes-y-Gomez and Gonzalez, ICLR
    workshop 2017.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector."""

        dim: int = 128

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or GMU.Options()
        super().__init__(dims, options.dim, options)
        self.hidden = linear(dims, options.dim)
        # U_mn kept apart by n, so that a new feature adds inputs without touching the old ones.
        self.gate = PerFeature({m: linear(dims, options.dim, bias=False) for m in sorted(dims)})
        self.bias = ParameterPerFeature({m: torch.zeros(options.dim) for m in dims})

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim), weights (B, M)."""
        hidden = stacked({name: h.tanh() for name, h in self.hidden(values).items()})
        # Absent features are zeros, and these maps have no bias: they add nothing to a gate.
        logits = {m: self.bias[m] + stacked(self.gate[m](values)).sum(dim=1) for m in self.dims}
        gates = where_present(stacked(present), stacked(logits).sigmoid())
        total = gates.sum(dim=1, keepdim=True)
        shares = gates / torch.where(total > 0, total, 1)  # (B, M, dim)
        return FusionOutput((shares * hidden).sum(dim=1), weights=shares.mean(dim=2))
