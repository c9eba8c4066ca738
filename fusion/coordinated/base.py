"""What all coordinated spaces share: a view per feature, and the fused vector between the views.

B records, M features, E_m the length of feature m as it is mapped, D the length of a view.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fusion.base import FusionOutput, Learned
from fusion.per_feature import PerFeature
from fusion.presence import masked_mean, stacked, unit, where_present


class LinearMap(nn.Module):
    """(x - mean) W with buffers, for maps in closed form; keeps the first coordinates until `adopt`."""

    mean: Tensor
    weight: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("weight", torch.eye(size, dim))

    def forward(self, values: Tensor) -> Tensor:
        """(B, E) -> (B, D)."""
        return (values - self.mean) @ self.weight

    def adopt(self, mean: Tensor, weight: Tensor) -> None:
        """Use these, (E,) and (E, D)."""
        self.mean.copy_(mean)
        self.weight.copy_(weight)


class Coordinated(Learned):
    """views[m] = A_m(f_m(x_m)); vector = unit mean over the present m of views[m] / |views[m]|.

    So the vector of a record with one feature is that feature's direction in the common space, which
    is what lets a text find images. Any number of features: one view each. weights: equal shares of
    the present ones. All absent: the zero vector. f_m is `project`; A_m a linear map in closed form.

    Args:
        dims: the length of each feature, at least two of them.
        dim: the length D of the views and the vector.
        sizes: E_m, the length of what `project` gives of each feature.

    Raises:
        ValueError: fewer than two features.
    """

    def __init__(
        self, dims: Mapping[str, int], dim: int, options: Any, sizes: Mapping[str, int]
    ) -> None:
        super().__init__(dims, dim, options)
        if len(dims) < 2:
            raise ValueError(
                f"a coordinated space brings at least two features together, got {', '.join(dims)}"
            )
        self.maps = PerFeature({name: LinearMap(sizes[name], dim) for name in self.dims})

    def project(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """f_m: {name: (B, D_m)} -> {name: (B, E_m)}; the identity unless there are towers."""
        return dict(values)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_m) -> vector (B, D), weights (B, M), views {name: (B, D)}, 0 if absent."""
        mapped = self.maps(self.project(values))
        views = {n: where_present(present[n], view) for n, view in mapped.items()}
        there = stacked(present)  # (B, M)
        mean = masked_mean(stacked({n: unit(view) for n, view in views.items()}), there)
        shares = there / there.sum(dim=1, keepdim=True).clamp_min(1)
        return FusionOutput(unit(mean), weights=shares.to(mean.dtype), views=views)
