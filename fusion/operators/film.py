"""FiLM: the other features scale and shift one of them, coordinate by coordinate."""

from collections.abc import Mapping

from torch import Tensor, nn

from fusion.base import FusionOutput
from fusion.directed import Directed
from fusion.per_feature import linear
from fusion.presence import masked_sum, stacked


class FiLM(Directed):
    """h = (1 + sum_m gamma_m) * u_t + sum_m beta_m, m the present features but the target t.

    u_t = W_t x_t + b_t,  gamma_m = G_m x_m + g_m,  beta_m = B_m x_m + c_m.

    Any number of features: the gammas and the betas of the others add. Absent others leave the
    target as it is; without the target only the shifts remain. All absent: the zero vector. Training
    starts at gamma = 0, a gate of 1. Perez et al., FiLM, AAAI 2018; as multiplicative interaction in
    vector form, Jayakumar et al., ICLR 2020.
    """

    def __init__(self, dims: Mapping[str, int], options: Directed.Options | None = None) -> None:
        super().__init__(dims, options)
        self.shift = linear(dims, self.dim)  # u_t for the target
        self.scale = linear(self.others, self.dim)
        for name in self.scale:
            nn.init.zeros_(self.scale[name].weight)
            nn.init.zeros_(self.scale[name].bias)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        terms = self.shift(values)
        if scales := self.scale(values):
            shown = stacked({name: present[name] for name in scales})
            terms[self.target] = terms[self.target] * (1 + masked_sum(stacked(scales), shown))
        return FusionOutput(masked_sum(stacked(terms), stacked(present)))
