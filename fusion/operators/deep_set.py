"""Deep set: encode every feature into one space, pool over those present, transform the pool."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fusion.base import FusionOutput, Learned
from fusion.per_feature import PerFeature
from fusion.presence import masked_mean, stacked


class DeepSet(Learned):
    """h = rho(1/|P| sum_{m in P} phi_m(x_m)), P the present features; rho, phi_m with one hidden layer.

    Any number of features: a set has any size. The phi_m differ, since features are of different
    kinds. Absent features are not in the set. All absent: rho(0), the same vector for every such
    record. Zaheer et al., Deep Sets, NeurIPS 2017.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. hidden: width of the layers and of the pool."""

        dim: int = 128
        hidden: int = 256

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or DeepSet.Options()
        super().__init__(dims, options.dim, options)
        self.encode = PerFeature(
            {
                name: _layers(size, options.hidden, options.hidden)
                for name, size in self.dims.items()
            }
        )
        self.transform = _layers(options.hidden, options.hidden, options.dim)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        pooled = masked_mean(stacked(self.encode(values)), stacked(present))  # (B, hidden)
        return FusionOutput(self.transform(pooled))


def _layers(size: int, hidden: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, out))
