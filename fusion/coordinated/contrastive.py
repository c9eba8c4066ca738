"""The contrastive objectives: a record's views must find each other among those of other records."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusion.base import Fusion
from fusion.coordinated.objective import Coordinate
from fusion.options import counted
from fusion.presence import unit
from learning.contrastive import info_nce, siglip


class InfoNCE(Coordinate):
    """Symmetric cross-entropy over the batch with a learned temperature (Radford et al., CLIP, 2021).

    More than two features: the mean over all pairs. The inverse temperature starts at 1/0.07 and
    stays within [1, 100]. What is absent is neither a positive nor a negative.
    """

    @dataclass(frozen=True)
    class Options:
        """Nothing to choose."""

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        super().__init__(fusion)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def loss(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """The mean over the pairs; the temperature is put back within its bounds first."""
        with (
            torch.no_grad()
        ):  # not a clamp in the graph: beyond it there is no gradient to come back by
            self.log_scale.clamp_(0, math.log(100))
        return super().loss(views, present)

    def pair(self, x: Tensor, y: Tensor, x_present: Tensor, y_present: Tensor) -> Tensor:
        """See `learning.contrastive.info_nce`."""
        return info_nce(unit(x), unit(y), self.log_scale.exp(), x_present, y_present)


class SigLIP(Coordinate):
    """Every pair of the batch judged by itself, in chunks (Zhai et al., 2023).

    More than two features: the mean over all pairs. Scale and offset start at 10 and -10.
    """

    @dataclass(frozen=True)
    class Options:
        """chunk: how many columns of the batch are compared at a time."""

        chunk: int = 1024

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        super().__init__(fusion)
        self.options = options or SigLIP.Options()
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def pair(self, x: Tensor, y: Tensor, x_present: Tensor, y_present: Tensor) -> Tensor:
        """See `learning.contrastive.siglip`."""
        scale = self.log_scale.exp()
        rows, columns = unit(x), unit(y)
        return siglip(
            rows, columns, scale, self.bias, x_present, y_present, chunk=self.options.chunk
        )
