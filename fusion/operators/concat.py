"""Concatenation that is neutral to absence: unit blocks side by side. Needs no training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fusion.base import Fusion, FusionOutput
from fusion.blocks import blocks
from fusion.presence import unit


class Concat(Fusion):
    """vector = [sqrt(w_1) u_1, ..., sqrt(w_M) u_M], u_m the unit vector of feature m, features by name.

    The inner product of two such vectors is sum_m w_m cos_m over the features both have. An absent
    feature, and a present zero vector, is a zero block; the rest is never rescaled, so that a block
    means the same whatever else a record has. All absent: the zero vector. No parameters.

    Raises:
        ValueError: weights that do not fit the features (see `fusion.blocks`).
    """

    @dataclass(frozen=True)
    class Options:
        """weights: feature -> how much it counts; normalised to sum 1. Default: all equal."""

        weights: dict[str, float] = field(default_factory=dict)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or Concat.Options()
        placed = blocks(dims, options.weights)
        super().__init__(dims, sum(dims.values()), options)
        self.blocks = placed

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, sum of D_name)."""
        scaled = [unit(values[name]) * block.scale for name, block in self.blocks.items()]
        return FusionOutput(torch.cat(scaled, dim=-1))
