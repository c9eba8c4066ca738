"""The objectives of correlation: deep CCA and its generalisation."""

from dataclasses import dataclass

from torch import Tensor

from fusion.base import Fusion
from fusion.coordinated.objective import Coordinate
from fusion.options import above_zero
from learning.correlation import shared_variance, squared_correlations


class DCCA(Coordinate):
    """loss = -1/D tr(S11^-1 S12 S22^-1 S21): the views' squared canonical correlations.

    Deep CCA (Andrew et al., 2013) with squared correlations, by two Cholesky solves. More than two
    features: the mean over all pairs. Statistics are the batch's: take one several times longer
    than the vectors. After training a linear CCA of the views settles offset, scale and rotation.
    """

    settled = True

    @dataclass(frozen=True)
    class Options:
        """ridge: added to each covariance, as a share of its mean variance."""

        ridge: float = 1e-3

        def __post_init__(self) -> None:
            above_zero(self, "ridge")

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        super().__init__(fusion)
        self.options = options or type(self).Options()

    def pair(self, x: Tensor, y: Tensor, x_present: Tensor, y_present: Tensor) -> Tensor:
        """See `learning.correlation.squared_correlations`."""
        both = x_present & y_present
        return -squared_correlations(x[both], y[both], self.options.ridge) / x.shape[1]


class DGCCA(DCCA):
    """loss = -(share of one common representation that each view explains), views may be missing.

    Deep generalised CCA (Benton et al., 2017): for any number of features at once, not pair by pair.
    """

    def loss(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """See `learning.correlation.shared_variance`."""
        names = sorted(views)
        masks = [present[name] for name in names]
        return -shared_variance([views[name] for name in names], masks, self.options.ridge)
