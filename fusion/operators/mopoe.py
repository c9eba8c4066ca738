"""Mixture of products of experts: every subset of the present features could have made the vector."""

from collections.abc import Mapping

from fusion.operators.probabilistic import ExpertOptions, Probabilistic


class MoPoE(Probabilistic):
    """q(z) = mean over non-empty S within P of the product of N(0, I) and N(mean_m, v_m), m in S.

    Any number of features up to 10: 2^M - 1 subsets, all by one matrix product. Subsets with an absent
    feature do not count. All absent: the prior, zero mean and log-variance. weights: each present
    feature's share of the precision, averaged over subsets and coordinates.
    Sutter, Daunhawer and Vogt, ICLR 2021.

    Raises:
        ValueError: more than 10 features.
    """

    Options = ExpertOptions

    def __init__(self, dims: Mapping[str, int], options: ExpertOptions | None = None) -> None:
        super().__init__(dims, options or ExpertOptions(), "mopoe")
