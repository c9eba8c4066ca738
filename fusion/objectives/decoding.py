"""What objectives that give features back from the fused vector share: decoders, noise, labels.

Decoders exist here once; `fusion.restore` uses them, and a run keeps them in a file of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fusion.base import Fusion
from fusion.objectives.base import Objective
from fusion.objectives.label_term import LabelTerm
from fusion.per_feature import PerFeature
from fusion.presence import masked, where_present
from fusion.scaling import Standardise
from learning import corruption
from learning.mlp import MLP


@dataclass(frozen=True)
class DecodingOptions:
    """dropout: how often a present feature is hidden. hidden: widths of the decoders' layers, [] for linear.
    corruption: none | gaussian | masking, of what the fusion sees in training, rate: how much of it.
    label: weight of the classification of labelled records into `classes`, 0 for none."""

    dropout: float = 0.3
    hidden: list[int] = field(default_factory=lambda: [256])
    corruption: str = "none"
    rate: float = 0.3
    label: float = 0.0
    classes: int = 0

    def __post_init__(self) -> None:
        corruption.check(self.corruption, self.rate)
        if not self.label >= 0:
            raise ValueError(f"label: expected a weight >= 0, got {self.label}")


class Decoding(Objective):
    """Every present feature is decoded from a vector that was made of some of them, perhaps corrupted."""

    def __init__(self, fusion: Fusion, options: DecodingOptions) -> None:
        super().__init__(options.dropout)
        self.corrupt = corruption.CORRUPTIONS[options.corruption]
        self.rate = options.rate
        self.decoders = PerFeature(
            {name: MLP(fusion.dim, options.hidden, size) for name, size in fusion.dims.items()}
        )
        self.label = (
            LabelTerm(fusion.dim, options.classes, options.label) if options.label else None
        )

    def shown(
        self, fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the fusion gets to see, as `Fusion.fuse` takes it: thinned out and corrupted in training."""
        values, masks = fusion.inputs(features, self.visible(present))
        if self.training:
            noisy = {name: self.corrupt(values[name], self.rate) for name in values}
            values = {n: where_present(masks[n], noisy[n]) for n in values}
        return values, masks

    def decode(self, vector: Tensor) -> dict[str, Tensor]:
        """(B, dim) -> {feature: (B, D_name)}, standardised."""
        return {name: self.decoders[name](vector) for name in self.decoders}

    def errors(
        self,
        fusion: Fusion,
        vector: Tensor,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Per feature the squared error |x - g(vector)|^2 / D of each record and which have it, (B,) each.

        x is clean, whole and standardised as the fusion standardises it; a fusion that doesn't is
        compared with raw features.
        """
        wanted, there = masked(fusion.dims, features, present)
        errors = {}
        for name, decoded in self.decode(vector).items():
            difference = decoded - scaling(fusion, name)(wanted[name])
            errors[name] = difference.square().mean(dim=1), there[name]
        return errors

    def label_losses(self, vector: Tensor, targets: Tensor | None) -> dict[str, Tensor]:
        """{"label": scalar}, or nothing without a label term."""
        return {} if self.label is None else {"label": self.label(vector, targets)}


def mean_where(values: Tensor, there: Tensor) -> Tensor:
    """The mean of the values that count; zero where none does. (B,), (B,) -> scalar"""
    return torch.where(there, values, 0).sum() / there.sum().clamp_min(1)


def scaling(fusion: Fusion, name: str) -> Standardise:
    """How the fusion standardises a feature; the identity where it doesn't."""
    own = getattr(fusion, "scaling", None)
    return own[name] if own is not None else Standardise(fusion.dims[name])
