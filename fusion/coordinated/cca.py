"""Canonical correlation analysis: the coordinated space that needs no training, only one pass."""

from collections.abc import Mapping
from dataclasses import dataclass

from fusion.coordinated.base import Coordinated
from fusion.coordinated.canonical import CanonicalReduction
from fusion.options import above_zero, at_least_zero, counted
from learning.reduce import Reduction


class CCA(Coordinated):
    """f_m = x_m, A_m the canonical directions of the training part (see `CanonicalReduction`).

    Two features: ridge CCA (Hotelling, 1936; Vinod, 1976), exactly. More: multiset CCA, the largest
    sum of correlations over all pairs (Kettenring, 1971). A record counts for the pairs it has both
    of. All absent: the zero vector. `dim` is at most the length of the shortest feature.
    """

    @dataclass(frozen=True)
    class Options:
        """dim: how many canonical directions, at most. ridge: regularisation, as a share of the mean
        variance. power: each direction is scaled by its correlation to this power, so that cosines
        count what is shared (Gong et al., 2014, take 4); 0: unit variance."""

        dim: int = 128
        ridge: float = 1e-2
        power: float = 1.0

        def __post_init__(self) -> None:
            counted(self)
            above_zero(self, "ridge")
            at_least_zero(self, "power")

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or CCA.Options()
        super().__init__(dims, min([options.dim, *dims.values()]), options, dims)

    def reductions(self) -> list[Reduction]:
        """Scaling of the inputs, then the directions."""
        found = CanonicalReduction(self, ridge=self.options.ridge, power=self.options.power)
        return [*super().reductions(), found]
