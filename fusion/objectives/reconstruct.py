"""Training without labels: every present feature must be readable from the fused vector.

Ngiam et al., Multimodal Deep Learning, ICML 2011: decode all modalities from a code made of some.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusion.base import Fusion
from fusion.objectives.base import Objective
from fusion.per_feature import PerFeature
from fusion.presence import masked
from fusion.scaling import Standardise


class Reconstruct(Objective):
    """loss = mean over features of mean over present rows of |x_m - g_m(vector)|^2 / D_m.

    Each feature counts the same, however long it is and however often it is there. x_m is
    standardised as the fusion standardises it; a fusion that doesn't is compared with raw features.
    """

    @dataclass(frozen=True)
    class Options:
        """dropout: how often a present feature is hidden. hidden: width of the decoders' one layer."""

        dropout: float = 0.3
        hidden: int = 256

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        options = options or Reconstruct.Options()
        super().__init__(options.dropout)
        self.decoders = PerFeature(
            {
                name: nn.Sequential(
                    nn.Linear(fusion.dim, options.hidden),
                    nn.GELU(),
                    nn.Linear(options.hidden, size),
                )
                for name, size in fusion.dims.items()
            }
        )

    def losses(
        self,
        fusion: Fusion,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{feature: scalar}; `targets` is not used."""
        vector = fusion(features, self.visible(present)).vector
        wanted, there = masked(fusion.dims, features, present)
        losses = {}
        for name in self.decoders:
            scaled = _scaling(fusion, name)(wanted[name])
            error = (self.decoders[name](vector) - scaled).square().mean(dim=1)  # (B,)
            rows = there[name].sum().clamp_min(1)
            losses[name] = torch.where(there[name], error, 0).sum() / rows / len(fusion.dims)
        return losses


def _scaling(fusion: Fusion, name: str) -> nn.Module:
    scaling = getattr(fusion, "scaling", None)
    return scaling[name] if scaling is not None else Standardise(fusion.dims[name])
