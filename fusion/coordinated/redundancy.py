"""The objectives without negatives: Barlow Twins and VICReg."""

from dataclasses import dataclass

from torch import Tensor

from fusion.base import Fusion
from fusion.coordinated.objective import Coordinate
from fusion.options import at_least_zero
from learning.redundancy import barlow_twins, vicreg


class BarlowTwins(Coordinate):
    """The cross-correlation of two views becomes the identity (Zbontar et al., 2021).

    More than two features: the mean over all pairs; each pair over the records that have both.
    """

    settled = True

    @dataclass(frozen=True)
    class Options:
        """weight: of the correlations between different coordinates."""

        weight: float = 5e-3

        def __post_init__(self) -> None:
            at_least_zero(self, "weight")

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        super().__init__(fusion)
        self.options = options or BarlowTwins.Options()

    def pair(self, x: Tensor, y: Tensor, x_present: Tensor, y_present: Tensor) -> Tensor:
        """See `learning.redundancy.barlow_twins`."""
        both = x_present & y_present
        return barlow_twins(x[both], y[both], self.options.weight)


class VICReg(Coordinate):
    """Views alike, every coordinate varying, no two coordinates alike (Bardes et al., 2022).

    More than two features: the mean over all pairs; each pair over the records that have both.
    """

    settled = True

    @dataclass(frozen=True)
    class Options:
        """Weights of the three terms."""

        invariance: float = 25.0
        variance: float = 25.0
        covariance: float = 1.0

        def __post_init__(self) -> None:
            at_least_zero(self, "invariance", "variance", "covariance")

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        super().__init__(fusion)
        self.options = options or VICReg.Options()

    def pair(self, x: Tensor, y: Tensor, x_present: Tensor, y_present: Tensor) -> Tensor:
        """See `learning.redundancy.vicreg`."""
        both = x_present & y_present
        own = self.options
        return vicreg(
            x[both], y[both],
            invariance=own.invariance, variance=own.variance, covariance=own.covariance,
        )  # fmt: skip
