"""One or several numbers per record, in the units of the labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import Fusion
from fusion.objectives.head import Head, expected
from fusion.objectives.prediction import Prediction
from fusion.scaling import Standardise


class Regress(Head):
    """Mean squared error of network(vector) to standardised targets (B, outputs), NaN where unknown.

    Every output counts by its own deviation. A record without any feature gets the mean.
    """

    @dataclass(frozen=True)
    class Options:
        """outputs: how many. hidden: widths of hidden layers; none: linear. dropout: of modalities."""

        outputs: int = 1
        hidden: tuple[int, ...] = ()
        dropout: float = 0.3

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        options = options or Regress.Options()
        super().__init__(fusion, options.outputs, hidden=options.hidden, dropout=options.dropout)
        self.outputs = options.outputs
        self.units = Standardise(options.outputs)

    def losses(
        self,
        fusion: Fusion,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{"regress": scalar}, the mean over the known numbers."""
        wanted = self.columns(expected(targets))
        known = ~wanted.isnan()
        found = self.raw(fusion, features, self.visible(present))
        error = found - self.units(torch.where(known, wanted, 0))
        squares = torch.where(known, error.square(), 0).sum()
        return {"regress": squares / known.sum().clamp_min(1)}

    def predict(
        self, fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Prediction:
        """values (B, outputs)."""
        return Prediction(self.units.restore(self.raw(fusion, features, present)))

    def columns(self, targets: Tensor) -> Tensor:
        """The targets themselves; (B,) is one output."""
        wanted = targets[:, None] if targets.dim() == 1 else targets
        if wanted.shape[1] != self.outputs:
            raise ValueError(f"targets: expected (B, {self.outputs}), got {tuple(targets.shape)}")
        return wanted.float()

    def settle(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """The units of the labels."""
        self.units.adopt(mean, torch.where(count > 0, variance, 1))
