"""Sum: project every feature and average over the present ones (the linear baseline of the GMU paper)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fusion.base import FusionOutput, Learned
from fusion.per_feature import linear
from fusion.presence import masked_mean, stacked


class Sum(Learned):
    """h = 1/|P| sum_{m in P} (W_m x_m + b_m), P the present features.

    Any number of features: one projection each; the mean keeps the scale whatever is missing.
    All absent: the zero vector. Arevalo et al., Gated Multimodal Units, 2017 ("linear sum").
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector."""

        dim: int = 128

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or Sum.Options()
        super().__init__(dims, options.dim, options)
        self.projection = linear(dims, options.dim)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        projected = stacked(self.projection(values))  # (B, M, dim)
        return FusionOutput(masked_mean(projected, stacked(present)))
