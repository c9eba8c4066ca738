"""Features side by side as they are, zero where absent. Needs no training."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import Fusion, FusionOutput


class Stack(Fusion):
    """vector = [x_1, ..., x_M], features by name, in their own units.

    What a head on one feature reads, and the zero-filled baseline for any number of them. An absent
    feature is a zero block, which a reader can't tell from a feature that is zero: for neighbours
    take `concat`. All absent: the zero vector. No parameters.
    """

    @dataclass(frozen=True)
    class Options:
        """None."""

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        super().__init__(dims, sum(dims.values()), options or Stack.Options())

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, sum of D_name)."""
        return FusionOutput(torch.cat(list(values.values()), dim=-1))
