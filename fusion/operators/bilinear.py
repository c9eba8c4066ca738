"""Full bilinear pooling: every pair of coordinates of every pair of features has a weight."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fusion.base import FusionOutput, Learned
from fusion.bilinear_form import BilinearForm
from fusion.compaction import only
from fusion.per_feature import PerFeature, linear
from fusion.presence import masked_sum, stacked


class Bilinear(Learned):
    """h_k = sum_{m<n} x_m^T W_mnk x_n + sum_m (U_m x_m + b_m)_k over the present features.

    For two features [1; x_1]^T W_k [1; x_2], the bilinear form of inputs with a one before them: the
    ones give the linear terms and the constant. Any number of features: all unordered pairs, the
    linear terms once. A pair counts where both are present. All absent: the zero vector. Tenenbaum
    and Freeman, Separating Style and Content with Bilinear Models, Neural Computation 2000.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector."""

        dim: int = 128

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or Bilinear.Options()
        super().__init__(dims, options.dim, options)
        self.linear = linear(dims, options.dim)
        self.form = PerFeature({m: self._with_later(m) for m in self.dims})

    def _with_later(self, first: str) -> PerFeature[BilinearForm]:
        later = {name: size for name, size in self.dims.items() if name > first}
        left = self.dims[first]
        return PerFeature({n: BilinearForm(left, size, self.dim) for n, size in later.items()})

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        vector = masked_sum(stacked(self.linear(values)), stacked(present))
        for m in self.form:
            for n in self.form[m]:
                both = present[m] & present[n]
                vector = vector + only(both, self.form[m][n], values[m], values[n])
        return FusionOutput(vector)
