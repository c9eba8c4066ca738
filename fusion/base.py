"""The contract every fusion meets: {feature: (B, D_m)} + presence -> (B, D)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class FusionOutput:
    """vector: (B, D). weights: (B, M), how much each feature counted, where the operator has them.
    log_variance: (B, D) where it is probabilistic. views: {feature: (B, D)} for coordinated spaces."""

    vector: Tensor
    weights: Tensor | None = None
    log_variance: Tensor | None = None
    views: Mapping[str, Tensor] = field(default_factory=dict)


class Fusion(nn.Module):
    """Fuses the features of each record into one vector of length `dim`.

    Rows whose presence is False may hold anything, NaN included, and change nothing. The order of
    the mappings changes nothing. A missing key means absent in every row; an unknown key is an error.
    """

    dim: int

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> FusionOutput:
        """features[name]: (B, D_name) float; present[name]: (B,) bool."""
        raise NotImplementedError
