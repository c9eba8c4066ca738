"""Multimodal factorised bilinear pooling: a wide elementwise product, summed in groups of k."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fusion.base import FusionOutput, Learned
from fusion.factors import factors, neutral, power_normalised, product
from fusion.options import counted


class MFB(Learned):
    """h_o = sum_{i<k} (prod_m z_m)_{ok+i},  z_m = W_m x_m + b_m; then signed square root and length.

    Any number of features: one factor each, so that every coordinate is a multilinear form of rank k.
    Absent: z_m = 1, the product goes on without it. All absent: the empty product, every coordinate k,
    and all ones after the normalisation, which gives every vector the length sqrt(dim). Yu, Yu, Fan
    and Tao, Multi-modal Factorized Bilinear Pooling with Co-Attention Learning for Visual Question
    Answering, ICCV 2017.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. pool: k, the rank. normalise: see the formula; the bare
        sums have heavy tails, which makes training harder."""

        dim: int = 128
        pool: int = 5
        normalise: bool = True

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or MFB.Options()
        super().__init__(dims, options.dim, options)
        self.pool = options.pool
        self.normalise = options.normalise
        self.factors = factors(dims, options.dim * options.pool)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        wide = product(neutral(self.factors(values), present).values())  # (B, dim k)
        pooled = wide.unflatten(1, (self.dim, self.pool)).sum(dim=2)
        return FusionOutput(power_normalised(pooled) if self.normalise else pooled)
