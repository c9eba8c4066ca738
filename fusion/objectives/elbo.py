"""The evidence lower bound: what probabilistic fusions and the VAE are trained for.

Kingma and Welling, ICLR 2014; several features: Wu and Goodman, NeurIPS 2018.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion.base import Fusion
from fusion.objectives.decoding import Decoding, DecodingOptions, mean_where
from fusion.operators.probabilistic import Probabilistic
from fusion.per_feature import ParameterPerFeature
from learning.gaussian import bounded


class ELBO(Decoding):
    """-E_q(z|S) log p(x | z) + beta KL(q(z | S) || N(0, I)), S the features left visible, x all present ones.

    A bound on log p(x) for any S, so that hiding features trains the posterior of every pattern. The
    bound is divided by the number of coordinates, and features are balanced:

        loss = 1/M sum_m 1/2 (e_m / s_m^2 + ln s_m^2) + beta KL / sum_m D_m,

    e_m the mean squared error per coordinate: exact for features of equal length, else each counts as
    if it had the mean length. The likelihood's variance s_m^2 is learned, one number per feature
    (Rybkin, Daniilidis and Levine, ICML 2021): its optimum is e_m, so every feature counts by its
    relative error, and beta = 1 needs no tuning; a fixed variance of 1 on standardised inputs would
    let all but the strongest directions collapse to the prior.

    In evaluation mode the features are decoded from the posterior mean.

    Raises:
        ValueError: the fusion has no posterior.
    """

    @dataclass(frozen=True)
    class Options(DecodingOptions):
        """beta: the weight of the divergence."""

        beta: float = 1.0

        def __post_init__(self) -> None:
            super().__post_init__()
            if not self.beta >= 0:
                raise ValueError(f"beta: expected a number >= 0, got {self.beta}")

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        options = options or ELBO.Options()
        if not isinstance(fusion, Probabilistic):
            raise ValueError(
                f"elbo: needs a fusion with a posterior (poe, moe, mopoe, vae), got {type(fusion).__name__}"
            )
        super().__init__(fusion, options)
        self.beta = options.beta
        self.log_variance = ParameterPerFeature({name: torch.zeros(()) for name in fusion.dims})

    def losses(
        self,
        fusion: Fusion,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{feature: scalar, "kl": scalar}, and "label" where asked for."""
        assert isinstance(fusion, Probabilistic)
        values, masks = self.shown(fusion, features, present)
        posterior = fusion.posterior(values, masks)
        mean, _ = posterior.moments()
        code = posterior.sample() if self.training else mean
        losses = {}
        for name, (error, there) in self.errors(fusion, code, features, present).items():
            log_variance = bounded(self.log_variance[name])
            likelihood = 0.5 * (error * torch.exp(-log_variance) + log_variance)
            losses[name] = mean_where(likelihood, there) / len(fusion.dims)
        records = max(len(code), 1)
        losses["kl"] = self.beta * posterior.kl().sum() / records / sum(fusion.dims.values())
        return losses | self.label_losses(mean, targets)
