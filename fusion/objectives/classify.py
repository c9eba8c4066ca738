"""One class of several per record: a linear or small head with calibrated probabilities."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from fusion.base import Fusion
from fusion.batch import Batch
from fusion.objectives.head import Head, expected
from fusion.objectives.prediction import Prediction
from fusion.presence import anything
from learning.calibration import temperature


class Classify(Head):
    """Cross entropy of softmax(network(vector)); targets (B,) class numbers, -1 where unknown.

    A record without any feature gets the frequencies of the classes. Probabilities are
    softmax(logits / T), T fitted on the validation part.
    """

    class_weights: Tensor
    temperature: Tensor

    @dataclass(frozen=True)
    class Options:
        """classes: how many. hidden: widths of hidden layers; none: linear. dropout: of modalities.

        class_weights: how much a record of each class counts; "balanced": every class as much as
        any other. label_smoothing: the share of each target spread over all classes.
        """

        classes: int
        hidden: tuple[int, ...] = ()
        dropout: float = 0.3
        class_weights: tuple[float, ...] | str = ()
        label_smoothing: float = 0.0

    def __init__(self, fusion: Fusion, options: Options) -> None:
        super().__init__(fusion, options.classes, hidden=options.hidden, dropout=options.dropout)
        if not 0 <= options.label_smoothing < 1:
            raise ValueError(f"label_smoothing: expected 0 <= share < 1, got {options}")
        self.classes = options.classes
        self.label_smoothing = options.label_smoothing
        self.balanced = options.class_weights == "balanced"
        self.register_buffer("class_weights", weights(options.class_weights, options.classes))
        self.register_buffer("temperature", torch.ones(()))

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

    def calibrate(self, fusion: Fusion, batches: Iterable[Batch]) -> None:
        """Fit T."""
        found = self.outcomes(fusion, batches)
        if found is not None:
            self.temperature.copy_(temperature(*found))

    def predict(
        self, fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Prediction:
        """values (B,): the likeliest class; probabilities (B, classes)."""
        logits = self.raw(fusion, features, present)
        there = anything(present)[:, None]
        probabilities = torch.where(there, logits / self.temperature, logits).softmax(dim=1)
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


def weights(given: Sequence[float] | str, classes: int) -> Tensor:
    """(classes,): the given weights; ones where there are none, or "balanced" until data is seen.

    Raises:
        ValueError: another word, another number of weights, or one that is not positive.
    """
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(f'class_weights: expected "balanced" or numbers, got {given!r}')
        return torch.ones(classes)
    if not given:
        return torch.ones(classes)
    if len(given) != classes or not all(weight > 0 for weight in given):
        raise ValueError(
            f"class_weights: expected {classes} numbers > 0, got {len(given)}: {list(given)}"
        )
    return torch.tensor(list(given), dtype=torch.float32)
