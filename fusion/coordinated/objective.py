"""What trains a coordinated space: a loss of two views, averaged over all pairs of features."""

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from fusion.base import Fusion
from fusion.coordinated.base import Coordinated
from fusion.coordinated.canonical import CanonicalReduction
from fusion.objectives.base import Objective
from fusion.presence import masked
from learning import parallel
from learning.reduce import Reduction


class Coordinate(Objective):
    """Brings the views of a record together. While training, the rows of all workers are one batch:
    negatives and statistics are global, with their gradients.

    settled: the loss leaves offset, scale and rotation of the views open; after training a linear CCA
    of the views settles them, so that cosines across features mean something.

    Raises:
        ValueError: a fusion that has no views.
    """

    settled: ClassVar[bool] = False

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        if not isinstance(fusion, Coordinated):
            raise ValueError(
                f"{type(fusion).__name__} has no views to bring together: "
                "choose a coordinated space, for example infonce"
            )

    def losses(
        self,
        fusion: Fusion,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{"coordination": scalar}; `targets` is not used."""
        views = dict(fusion(features, present).views)
        _, there = masked(fusion.dims, features, present)
        if self.training:
            views = {name: parallel.gather_rows(views[name]) for name in views}
            there = {name: parallel.gather_rows(there[name]) for name in there}
        return {"coordination": self.loss(views, there)}

    def loss(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """views[name]: (B, D), zero where absent; present[name]: (B,) -> a scalar: the mean of all pairs."""
        pairs = list(combinations(sorted(views), 2))
        each = [self.pair(views[a], views[b], present[a], present[b]) for a, b in pairs]
        return torch.stack(each).mean()

    def pair(self, x: Tensor, y: Tensor, x_present: Tensor, y_present: Tensor) -> Tensor:
        """The loss of two views, (B, D) and (B,) each; zero where no record has both."""
        raise NotImplementedError

    def closing(self, fusion: Fusion) -> list[Reduction]:
        """The linear CCA of the trained views, where the loss needs it and there was anything to train."""
        assert isinstance(fusion, Coordinated)
        if not self.settled or next(fusion.parameters(), None) is None:
            return []
        return [CanonicalReduction(fusion, ridge=1e-3, power=1.0)]
