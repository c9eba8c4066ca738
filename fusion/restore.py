"""Missing features, filled in by a fusion and the decoders it was trained with."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import Fusion
from fusion.objectives.base import Objective
from fusion.objectives.decoding import Decoding, scaling
from fusion.presence import any_step, anything


@dataclass(frozen=True)
class Restored:
    """vectors[name]: (B, D_name), what the model makes of each feature, in the units of the stored one.
    measured[name]: (B,), where the record has the feature itself. known: (B,), where it has any: what
    is restored from nothing is the same for every record."""

    vectors: dict[str, Tensor]
    measured: dict[str, Tensor]
    known: Tensor


def restore(
    fusion: Fusion,
    objective: Objective,
    features: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
) -> Restored:
    """Decode every feature of every record from what the record has; the same answer each time.

    A measured feature is decoded too, never replaced: `measured` tells the two apart. A sequence
    comes back as the mean of its steps.

    Raises:
        ValueError: the objective has no decoders, or features that don't fit.
    """
    if not isinstance(objective, Decoding):
        raise ValueError(
            f"{type(objective).__name__.lower()} trains no decoders, so nothing can be restored; "
            "train with objective reconstruct or elbo"
        )
    modes = fusion.training, objective.training
    fusion.eval(), objective.eval()
    try:
        with torch.no_grad():
            _, masks = fusion.inputs(features, present)
            decoded = objective.decode(fusion(features, present).vector)
            vectors = {name: scaling(fusion, name).restore(decoded[name]) for name in decoded}
    finally:
        fusion.train(modes[0]), objective.train(modes[1])
    measured = {name: any_step(mask) for name, mask in masks.items()}
    return Restored(vectors, measured, anything(masks))
