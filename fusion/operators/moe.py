"""Mixture of experts: every present feature alone could have made the vector."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fusion.operators.probabilistic import Probabilistic


class MoE(Probabilistic):
    """q(z) = 1/|P| sum_{m in P} N(mean_m, v_m); vector and log_variance are its moments.

    Any number of features: one component each, so the vector is the mean of the experts' means and the
    variance grows where they disagree. An absent feature has no component. All absent: the prior, zero
    mean and log-variance. weights: 1/|P|. Shi, Siddharth, Paige and Torr, NeurIPS 2019.
    """

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. hidden: widths of the layers of each feature's encoder."""

        dim: int = 128
        hidden: list[int] = field(default_factory=lambda: [256])

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        super().__init__(dims, options or MoE.Options(), "moe")
