"""A new fusion operator, whole: the coordinate-wise maximum of projected features.

    python examples/new_operator.py

In the project the class is `fusion/operators/maximum.py`, and one line in `fusion/__init__.py` makes
it known to configurations, fit, fuse, search, compare and the contract tests:

    "maximum": Entry("fusion.operators.maximum:Maximum", "coordinate-wise maximum of projections"),
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import FusionOutput, Learned
from fusion.per_feature import linear
from fusion.presence import stacked


class Maximum(Learned):
    """h_d = max over the present m of (W_m x_m + b_m)_d, for any number of features; none: zero."""

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector."""

        dim: int = 128

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or Maximum.Options()
        super().__init__(dims, options.dim, options)
        self.projection = linear(dims, options.dim)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        there = stacked(present)[..., None]  # (B, M, 1)
        highest = stacked(self.projection(values)).masked_fill(~there, -torch.inf).amax(dim=1)
        return FusionOutput(torch.where(there.any(dim=1), highest, 0))


if __name__ == "__main__":
    operator = Maximum({"image": 4, "text": 3}, Maximum.Options(dim=2))
    features = {"image": torch.randn(2, 4), "text": torch.full((2, 3), torch.nan)}
    present = {"image": torch.tensor([True, False]), "text": torch.tensor([False, False])}
    print(operator(features, present).vector)
