"""Variational autoencoder over any subset of features, with the joint posterior of your choice."""

from collections.abc import Mapping
from dataclasses import dataclass

from fusion.operators.probabilistic import JOINTS, ExpertOptions, Probabilistic


class VAE(Probabilistic):
    """q(z | x_P) from the encoders' Gaussians by poe, moe or mopoe; vector = its mean, and its log-variance.

    One feature with moe is the plain VAE (Kingma and Welling, ICLR 2014); with more of them the joint
    posterior is what the operators of these names compute, see there. Absent features are marginalised.
    All absent: the prior, zero mean and log-variance. Trained by its evidence lower bound, `elbo`.

    Raises:
        ValueError: an unknown posterior, or mopoe over too many features.
    """

    @dataclass(frozen=True)
    class Options(ExpertOptions):
        """dim: length of the code. hidden: widths of the encoders. posterior: poe | moe | mopoe."""

        posterior: str = "poe"

        def __post_init__(self) -> None:
            if self.posterior not in JOINTS:
                known = ", ".join(JOINTS)
                raise ValueError(f"unknown posterior {self.posterior!r}; known: {known}")

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or VAE.Options()
        super().__init__(dims, options, options.posterior)
