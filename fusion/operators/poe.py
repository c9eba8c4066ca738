"""Product of experts: features vote with their precision, the sure ones count more."""

from collections.abc import Mapping

from fusion.operators.probabilistic import ExpertOptions, Probabilistic


class PoE(Probabilistic):
    """q(z) ~ N(0, I) prod_{m in P} N(mean_m, v_m): precision 1 + sum 1/v_m, mean the precision-weighted one.

    Any number of features: one factor each. An absent one is left out, which is its exact
    marginalisation. All absent: the prior, zero mean and log-variance. weights: each present feature's
    share of the precision, averaged over coordinates. Wu and Goodman, NeurIPS 2018.
    """

    Options = ExpertOptions

    def __init__(self, dims: Mapping[str, int], options: ExpertOptions | None = None) -> None:
        super().__init__(dims, options or ExpertOptions(), "poe")
