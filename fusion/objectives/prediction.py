"""What an objective with labels says about records it has not seen."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fusion.base import Fusion
from fusion.objectives.base import Objective


@dataclass(frozen=True)
class Prediction:
    """B records, K classes.

    values: (B,) class numbers; (B, outputs) numbers in the units of the labels; (B, K) bool for
    several labels. probabilities: (B, K), calibrated; None for numbers.
    """

    values: Tensor
    probabilities: Tensor | None = None


class Predictor(Objective):
    """An objective that turns a fused vector into labels."""

    def predict(
        self, fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Prediction:
        """The label of each record; finite for every presence pattern. Call it in evaluation mode."""
        raise NotImplementedError
