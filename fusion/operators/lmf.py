"""Low-rank multimodal fusion: tensor fusion whose weights are a sum of a few products, never built."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusion.base import FusionOutput, Learned
from fusion.factors import product
from fusion.per_feature import linear


class LMF(Learned):
    """h = sum_r w_r prod_m F_m^(r) [1; x_m] + b, r = 1..rank.

    The linear map of the outer product of all [1; x_m] (TFN), with weights of the given rank: for
    rank = prod_{m<M} (D_m + 1) any weights. Any number of features: one factor each. Absent: x_m = 0
    leaves the constant row of its factor. All absent: the constants alone, the same for every such
    record. Liu, Shen et al., Efficient Low-rank Multimodal Fusion, ACL 2018.

    Training starts with constant rows of one, so that absent features are neutral, and with factors
    whose product varies by one whatever their number is.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. rank: how many products are added."""

        dim: int = 128
        rank: int = 4

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or LMF.Options()
        super().__init__(dims, options.dim, options)
        self.rank = options.rank
        self.factors = linear(dims, options.rank * options.dim)
        # E prod_m (1 + e_m)^2 = (1 + s^2)^M = 2 for independent e_m of deviation s: 1 for the constant.
        deviation = math.sqrt(2 ** (1 / len(dims)) - 1)
        for name, size in self.dims.items():
            nn.init.normal_(self.factors[name].weight, std=deviation / math.sqrt(size))
            nn.init.ones_(self.factors[name].bias)
        signs = 1 - 2.0 * (torch.arange(options.rank) % 2)  # in pairs, the constants cancel
        self.weight = nn.Parameter(signs / math.sqrt(options.rank))
        self.bias = nn.Parameter(torch.zeros(options.dim))

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        products = product(self.factors(values).values()).unflatten(1, (self.rank, self.dim))
        each = self.weight.expand(len(products), 1, -1)  # as batched rows: no copy of the products
        return FusionOutput(torch.baddbmm(self.bias, each, products)[:, 0])
