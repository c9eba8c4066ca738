"""Multimodal factorised high-order pooling: a cascade of MFB blocks, each the product of all before."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import FusionOutput, Learned
from fusion.factors import factors, neutral, power_normalised, product
from fusion.options import counted


class MFH(Learned):
    """h = [h_1, ..., h_p],  h_i = pool(e_i),  e_i = e_{i-1} prod_m z_mi,  e_0 = 1,  z_mi = W_mi x_m + b_mi.

    pool: sums of groups of k, signed square root and length, as in MFB. Any number of features: block
    i holds products of i factors of each. Absent: z_mi = 1 in every block. All absent: the empty
    product, all ones after normalisation. Yu, Yu, Xiang, Fan and Tao, Beyond Bilinear: Generalized
    Multimodal Factorized High-Order Pooling for Visual Question Answering, TNNLS 2018.

    Raises:
        ValueError: dim is not a multiple of order.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. order: p, the number of blocks. pool: k, the rank."""

        dim: int = 128
        order: int = 2
        pool: int = 5

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or MFH.Options()
        super().__init__(dims, options.dim, options)
        if options.dim % options.order:
            raise ValueError(
                f"dim: expected a multiple of order ({options.order}), got {options.dim}"
            )
        self.order = options.order
        self.pool = options.pool
        self.factors = factors(dims, options.dim * options.pool)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        wide = product(neutral(self.factors(values), present).values())  # (B, dim k)
        cascade = itertools.accumulate(wide.chunk(self.order, dim=1), torch.mul)
        pooled = [expanded.unflatten(1, (-1, self.pool)).sum(dim=2) for expanded in cascade]
        return FusionOutput(torch.cat([power_normalised(block) for block in pooled], dim=1))
