"""How a fusion coded a batch, in the terms of `learning.penalties`: all features as one input vector."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fusion.autoencoders.autoencoder import Autoencoder
from fusion.base import Fusion
from fusion.presence import anything
from learning.penalties import Coding


def coding(
    fusion: Fusion,
    values: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    vector: Tensor,
    *,
    fixed: bool,
) -> Coding:
    """The records that show any feature; what is not shown is no input.

    values, masks: as `Fusion.fuse` took them to make `vector`, (B, dim). fixed: draw the same random
    directions every time, as evaluation must.
    """
    some = anything(masks)
    shown = {name: mask[some] for name, mask in masks.items()}
    steps = {name: value[some] for name, value in values.items()}
    shapes = [value.shape[1:] for value in steps.values()]

    def encode(inputs: Tensor) -> Tensor:
        parts = inputs.split([math.prod(shape) for shape in shapes], dim=1)
        given = {
            name: torch.where(shown[name][..., None], part.view(len(part), *shape), 0)
            for name, part, shape in zip(steps, parts, shapes, strict=True)
        }
        return fusion.fuse(given, shown).vector

    return Coding(
        vector[some],
        torch.cat([value.flatten(1) for value in steps.values()], dim=1),
        torch.cat([shown[n][..., None].expand_as(steps[n]).flatten(1) for n in steps], dim=1),
        encode,
        weights=[parameter for parameter in fusion.parameters() if parameter.dim() > 1],
        layer=fusion.single_layer() if isinstance(fusion, Autoencoder) else None,
        generator=torch.Generator().manual_seed(0) if fixed else None,
    )
