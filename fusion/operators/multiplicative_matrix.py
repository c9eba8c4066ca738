"""Multiplicative interaction, matrix form: the other features generate a matrix that maps one of them."""

from collections.abc import Mapping

from torch import Tensor

from fusion.base import FusionOutput
from fusion.bilinear_form import BilinearForm
from fusion.compaction import only
from fusion.directed import Directed
from fusion.per_feature import PerFeature, linear
from fusion.presence import masked_sum, stacked


class MultiplicativeMatrix(Directed):
    """h_k = sum_m x_m^T W_mk x_t + sum_n (U_n x_n + b_n)_k, t the target, m the others, n all of them.

    For two features x_1^T W x_2 + x_1^T U + V x_2 + b. Any number of features: the matrices that the
    others generate for the target add. Absent features drop out of both sums. All absent: the zero
    vector. Exact, and never a (B, D, dim) tensor (see `fusion.bilinear_form`). Jayakumar et al.,
    Multiplicative Interactions and Where to Find Them, ICLR 2020.
    """

    def __init__(self, dims: Mapping[str, int], options: Directed.Options | None = None) -> None:
        super().__init__(dims, options)
        self.linear = linear(dims, self.dim)
        self.form = PerFeature(
            {
                name: BilinearForm(size, dims[self.target], self.dim)
                for name, size in self.others.items()
            }
        )

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        vector = masked_sum(stacked(self.linear(values)), stacked(present))
        for name in self.form:
            both = present[name] & present[self.target]
            vector = vector + only(both, self.form[name], values[name], values[self.target])
        return FusionOutput(vector)
