"""The contract every fusion meets: {feature: (B, D_m)} + presence -> (B, D).

B records, M features, D_m the length of feature m, D the length of the fused vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from fusion.compaction import Values
from fusion.per_feature import PerFeature
from fusion.presence import masked, where_present
from fusion.scaling import ScalingReduction, Standardise
from learning.reduce import Reduction


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

    Args:
        dims: the length of each feature.
        dim: the length of the fused vector.
        options: the operator's own `Options`, kept so that the same one can be built again.
    """

    dims: dict[str, int]
    dim: int
    takes_sequences: ClassVar[bool] = False
    extensible: ClassVar[bool] = False  # see `fusion.extend`

    def __init__(self, dims: Mapping[str, int], dim: int, options: Any) -> None:
        super().__init__()
        if not dims:
            raise ValueError("a fusion needs at least one feature, got none")
        self.dims = {name: dims[name] for name in sorted(dims)}
        self.dim = dim
        self.options = options

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> FusionOutput:
        """features[name]: (B, D_name) float; present[name]: (B,) bool. A sequence: (B, T, D), (B, T).

        Raises:
            ValueError: an unknown name, a wrong shape or type (see `fusion.presence.masked`).
        """
        return self.fuse(*self.inputs(features, present))

    def inputs(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The checked features and masks as `fuse` gets them: all of `dims`, zero where absent."""
        values, masks = masked(self.dims, features, present, sequences=self.takes_sequences)
        return Values(values, masks), masks

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """The formula of the operator. values[name]: (B, D_name), zero where absent; present: (B,)."""
        raise NotImplementedError

    def reductions(self) -> list[Reduction]:
        """What one pass each over the training part settles before, or instead of, training."""
        return []


class Learned(Fusion):
    """A fusion with weights: it standardises its inputs, so that no feature counts by its scale alone."""

    def __init__(self, dims: Mapping[str, int], dim: int, options: Any) -> None:
        super().__init__(dims, dim, options)
        self.scaling = PerFeature({name: Standardise(size) for name, size in self.dims.items()})

    def inputs(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The same, standardised."""
        values, masks = super().inputs(features, present)
        scaled = {n: where_present(masks[n], self.scaling[n](values[n])) for n in values}
        return Values(scaled, masks), masks

    def reductions(self) -> list[Reduction]:
        """Mean and deviation of the inputs."""
        return [ScalingReduction(self)]
