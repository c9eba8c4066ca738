"""Any number of labels per record: one calibrated yes or no each."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from fusion.base import Fusion
from fusion.objectives.calibrated import Calibrated
from fusion.objectives.head import expected
from fusion.objectives.prediction import Prediction
from learning.calibration import temperatures


class Multilabel(Calibrated):
    """Binary cross entropy of sigmoid(network(vector)); targets (B, classes) 0, 1 or NaN: unknown.

    A record without any feature gets the frequency of each label. Probabilities are
    sigmoid(logit_k / T_k), T_k fitted on the validation part; a label is given from 0.5 on.
    """

    @dataclass(frozen=True)
    class Options(Calibrated.Options):
        """classes: how many labels. hidden: widths of hidden layers; none: linear. dropout: of modalities.

        class_weights: how much a record that has the label counts against one that has not;
        "balanced": all that have it as much as all that have not.
        """

    def __init__(self, fusion: Fusion, options: Options) -> None:
        super().__init__(fusion, options, temperatures=(options.classes,))

    def losses(
        self,
        fusion: Fusion,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{"multilabel": scalar}, the mean over what is known."""
        wanted = self.columns(expected(targets))
        known = ~wanted.isnan()
        each = binary_cross_entropy_with_logits(
            self.raw(fusion, features, self.visible(present)),
            torch.where(known, wanted, 0),
            pos_weight=self.class_weights,
            reduction="none",
        )
        return {"multilabel": torch.where(known, each, 0).sum() / known.sum().clamp_min(1)}

    def fitted(self, logits: Tensor, targets: Tensor) -> Tensor:
        """T_k of every label."""
        return temperatures(logits, targets)

    def predict(
        self, fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Prediction:
        """values (B, classes) bool; probabilities (B, classes)."""
        probabilities = self.calibrated(fusion, features, present).sigmoid()
        return Prediction(probabilities >= 0.5, probabilities)

    def columns(self, targets: Tensor) -> Tensor:
        """The targets themselves, checked."""
        if targets.dim() != 2 or targets.shape[1] != self.classes:
            raise ValueError(f"targets: expected (B, {self.classes}), got {tuple(targets.shape)}")
        wanted = targets.float()
        if not ((wanted == 0) | (wanted == 1) | wanted.isnan()).all():
            raise ValueError("targets: expected 0, 1 or NaN for every label")
        return wanted

    def settle(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Frequencies: the answer where nothing is known, and balanced weights."""
        there, not_there = mean * count, (1 - mean) * count
        self.nothing.copy_(((there + 1) / (not_there + 1)).log())
        if self.balanced:
            both = (there > 0) & (not_there > 0)
            self.class_weights.copy_(torch.where(both, not_there / there, 1))
