"""One class of several per record: a linear or small head with calibrated probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from fusion.base import Fusion
from fusion.objectives.calibrated import Calibrated
from fusion.objectives.head import expected
from fusion.objectives.prediction import Prediction
from learning.calibration import temperature


class Classify(Calibrated):
    """Cross entropy of softmax(network(vector)); targets (B,) class numbers, -1 where unknown.

    A record without any feature gets the frequencies of the classes. Probabilities are
    softmax(logits / T), T fitted on the validation part.
    """

    @dataclass(frozen=True)
    class Options(Calibrated.Options):
        """classes: how many. hidden: widths of hidden layers; none: linear. dropout: of modalities.

        class_weights: how much a record of each class counts; "balanced": every class as much as
        any other. label_smoothing: the share of each target spread over all classes.
        """

        label_smoothing: float = 0.0

    def __init__(self, fusion: Fusion, options: Options) -> None:
        super().__init__(fusion, options)
        if not 0 <= options.label_smoothing < 1:
            raise ValueError(f"label_smoothing: expected 0 <= share < 1, got {options}")
        self.label_smoothing = options.label_smoothing

    def losses(
        self,
        fusion: Fusion,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{"classify": scalar}, the weighted mean over the labelled records."""
        wanted = self._checked(expected(targets))
        logits = self.raw(fusion, features, self.visible(present))
        each = cross_entropy(
            logits,
            wanted,
            weight=self.class_weights,
            ignore_index=-1,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        # Divided here: torch's own mean is 0/0 in a batch without any label.
        total = torch.where(wanted >= 0, self.class_weights[wanted], 0).sum()
        return {"classify": each.sum() / torch.where(total > 0, total, 1)}

    def fitted(self, logits: Tensor, targets: Tensor) -> Tensor:
        """T."""
        return temperature(logits, targets)

    def predict(
        self, fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Prediction:
        """values (B,): the likeliest class; probabilities (B, classes)."""
        probabilities = self.calibrated(fusion, features, present).softmax(dim=1)
        return Prediction(probabilities.argmax(dim=1), probabilities)

    def columns(self, targets: Tensor) -> Tensor:
        """One column per class: 1 for its records, 0 for the others."""
        wanted = self._checked(targets)
        hot = one_hot(wanted.clamp_min(0), self.classes).float()
        return torch.where(wanted[:, None] >= 0, hot, torch.nan)

    def settle(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Frequencies: the answer where nothing is known, and balanced weights."""
        self.nothing.copy_(((mean * count + 1) / (count + self.classes)).log())
        if self.balanced:
            self.class_weights.copy_(torch.where(mean > 0, 1 / (self.classes * mean), 1))

    def _checked(self, targets: Tensor) -> Tensor:
        wanted = targets.long()
        wrong = wanted[(wanted < -1) | (wanted >= self.classes)]
        if len(wrong):
            raise ValueError(
                f"targets: expected classes 0 to {self.classes - 1} and -1 for none, "
                f"got {int(wrong[0])}"
            )
        return wanted
