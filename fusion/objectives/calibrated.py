"""What the heads of classes and of labels share: weights of the classes, calibrated logits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import Fusion
from fusion.batch import Batch
from fusion.objectives.head import Head
from fusion.presence import anything


class Calibrated(Head):
    """Logits that are divided by temperatures, which are fitted on the validation part.

    Args:
        temperatures: the shape of what `fitted` gives: () or (K,).
    """

    class_weights: Tensor
    temperature: Tensor

    @dataclass(frozen=True)
    class Options:
        """classes: K, how many classes or labels. hidden: widths of hidden layers; none: linear.

        dropout: of modalities. class_weights: (K,) numbers > 0; none: ones; "balanced": from the
        training part.
        """

        classes: int
        hidden: tuple[int, ...] = ()
        dropout: float = 0.3
        class_weights: tuple[float, ...] | str = ()

    def __init__(
        self, fusion: Fusion, options: Options, temperatures: tuple[int, ...] = ()
    ) -> None:
        super().__init__(fusion, options.classes, hidden=options.hidden, dropout=options.dropout)
        self.classes = options.classes
        self.balanced = options.class_weights == "balanced"
        self.register_buffer("class_weights", weights(options.class_weights, options.classes))
        self.register_buffer("temperature", torch.ones(temperatures))

    def fitted(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The temperatures that suit these logits (N, K) and targets (N, ...) best."""
        raise NotImplementedError

    def calibrate(self, fusion: Fusion, batches: Iterable[Batch]) -> None:
        """Fit the temperatures."""
        found = self.outcomes(fusion, batches)
        if found is not None:
            self.temperature.copy_(self.fitted(*found))

    def calibrated(
        self, fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        """Logits (B, K) over their temperatures; without any feature the frequencies, as they are."""
        logits = self.raw(fusion, features, present)
        return torch.where(anything(present)[:, None], logits / self.temperature, logits)


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
