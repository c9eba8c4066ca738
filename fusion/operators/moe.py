"""Mixture of experts: every present feature alone could have made the vector."""

from collections.abc import Mapping

from fusion.operators.probabilistic import ExpertOptions, Probabilistic


class MoE(Probabilistic):
    """q(z) = 1/|P| sum_{m in P} N(mean_m, v_m); vector and log_variance are its moments.

    Any number of features: one component each, so the vector is the mean of the experts' means and the
    variance grows where they disagree. An absent feature has no component. All absent: the prior, zero
    mean and log-variance. weights: 1/|P|. Shi, Siddharth, Paige and Torr, NeurIPS 2019.
    """

    Options = ExpertOptions

    def __init__(self, dims: Mapping[str, int], options: ExpertOptions | None = None) -> None:
        super().__init__(dims, options or ExpertOptions(), "moe")
