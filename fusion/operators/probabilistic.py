"""What the probabilistic operators share: a Gaussian encoder per feature, and a joint posterior of them.

The fused vector is the posterior mean, the same each time; only the training objective samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fusion.base import FusionOutput, Learned
from fusion.per_feature import PerFeature
from fusion.presence import stacked
from learning import gaussian
from learning.gaussian import Posterior
from learning.mlp import MLP

# name -> (mean (B, M, D), log_variance (B, M, D), present (B, M)) -> posterior
JOINTS: dict[str, Callable[[Tensor, Tensor, Tensor], Posterior]] = {
    "poe": gaussian.product,
    "moe": gaussian.mixture,
    "mopoe": gaussian.mixture_of_products,
}
MOST = 10  # features of a mixture over subsets: their number doubles with each


@dataclass(frozen=True)
class ExpertOptions:
    """dim: length of the fused vector. hidden: widths of the layers of each feature's encoder."""

    dim: int = 128
    hidden: list[int] = field(default_factory=lambda: [256])


class Probabilistic(Learned):
    """q(z | x_P), the `joint` of N(mean_m, variance_m) = MLP_m(x_m) over the present features m.

    Args:
        options: z has length `dim`.
        joint: a name in `JOINTS`.
    """

    extensible = True  # an expert that is absent changes none of the joints

    def __init__(self, dims: Mapping[str, int], options: ExpertOptions, joint: str) -> None:
        super().__init__(dims, options.dim, options)
        if joint == "mopoe" and len(dims) > MOST:
            raise ValueError(
                f"mopoe: {len(dims)} features have {2 ** len(dims) - 1} subsets, expected at most "
                f"{MOST} features; use poe or moe, or fewer inputs"
            )
        self.joint = JOINTS[joint]
        self.encoders = PerFeature(
            {name: MLP(size, options.hidden, 2 * options.dim) for name, size in self.dims.items()}
        )

    def posterior(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> Posterior:
        """values and present as `inputs` gives them -> q(z | x_P)."""
        mean, raw = stacked(self.encoders(values)).chunk(2, dim=2)  # (B, M, dim) each
        return self.joint(mean, gaussian.bounded(raw), stacked(present))

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector and log_variance (B, dim), weights (B, M)."""
        posterior = self.posterior(values, present)
        mean, log_variance = posterior.moments()
        return FusionOutput(mean, weights=posterior.weights, log_variance=log_variance)
