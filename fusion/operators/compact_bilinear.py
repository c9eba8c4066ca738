"""Compact bilinear pooling: a sketch of the outer product of all features, which is never built."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fusion.base import FusionOutput, Learned
from fusion.per_feature import PerFeature
from fusion.presence import unit
from fusion.sketch import CountSketch, sketch_of_product
from learning.numerics import signed_sqrt

# Where the signed root becomes linear, coordinates being of unit scale: most buckets of short features
# hold nothing but the rounding errors of the transform, which a steeper root would make count.
SOFT = 0.1


class CompactBilinear(Learned):
    """h = W s + b,  s = sqrt(D) irfft(prod_m (1 + rfft(S_m x_m / sqrt(D_m)))), S_m a count sketch to D.

    s / sqrt(D) is a sketch of the outer product of all [1; x_m / sqrt(D_m)]: its inner products are
    those of the outer products, on average over hashes. Before W the signed square root and the
    length sqrt(D), as in the paper. Any number of features: their spectra multiply. Absent: the
    spectrum of the one, which changes nothing. All absent: the sketch of the one, the first bucket.
    Gao et al., Compact Bilinear Pooling, CVPR 2016; Fukui et al., EMNLP 2016.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. sketch: D, best a power of two. signed_sqrt: take
        x / sqrt(|x| + 0.1) of s. normalise: give s the length sqrt(D)."""

        dim: int = 128
        sketch: int = 16384
        signed_sqrt: bool = True
        normalise: bool = True

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or CompactBilinear.Options()
        super().__init__(dims, options.dim, options)
        self.sketch = PerFeature(
            {name: CountSketch(size, options.sketch) for name, size in self.dims.items()}
        )
        self.output = nn.Linear(options.sketch, options.dim)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        # A standardised feature of length D has a norm of sqrt(D): divided, no product drowns others.
        scaled = {name: x / math.sqrt(x.shape[1]) for name, x in values.items()}
        pooled = sketch_of_product(self.sketch(scaled).values(), norm="ortho")
        if self.options.signed_sqrt:
            pooled = signed_sqrt(pooled, SOFT)
        if self.options.normalise:
            pooled = unit(pooled, math.sqrt(self.options.sketch))
        return FusionOutput(self.output(pooled.to(self.output.weight.dtype)))
