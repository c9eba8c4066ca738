"""Tensor fusion network: the outer product of all features, each with a one before it, then a linear map."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusion.base import FusionOutput, Learned
from fusion.per_feature import linear
from fusion.presence import where_present


class TFN(Learned):
    """h = W ([1; z_1] x ... x [1; z_M]) + b, x the outer product,  z_m = P_m x_m + p_m.

    Any number of features, though W has dim * (inner + 1)^M weights. Absent: z_m = 0, and the ones
    keep every product of the present features, which is the exact marginal of the interactions. All
    absent: the first column of W plus b. Zadeh et al., Tensor Fusion Network, EMNLP 2017, whose
    feature networks have 32 to 128 outputs; here they are linear.
    """

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. inner: length of z_m; 0: z_m is x_m itself; None: 32, or less
        where the outer product would have more than 2^15 coordinates."""

        dim: int = 128
        inner: int | None = None

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or TFN.Options()
        super().__init__(dims, options.dim, options)
        inner = _affordable(len(dims)) if options.inner is None else options.inner
        self.project = linear(dims, inner) if inner else None
        sizes = [inner or size for size in dims.values()]
        self.output = nn.Linear(math.prod(size + 1 for size in sizes), options.dim)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        if self.project is not None:
            shorter = self.project(values)
            values = {n: where_present(present[n], shorter[n]) for n in shorter}
        one = torch.ones_like(next(iter(values.values()))[:, :1])
        factors = [torch.cat([one, values[name]], dim=1) for name in self.dims]
        return FusionOutput(self.output(functools.reduce(_outer, factors)))


def _affordable(features: int) -> int:
    return max((n for n in range(1, 33) if (n + 1) ** features <= 2**15), default=1)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """(B, I), (B, J) -> (B, I J)."""
    return (left[:, :, None] * right[:, None, :]).flatten(1)
