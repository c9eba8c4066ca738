"""Diagonal Gaussians and what probabilistic fusion does with them: products, mixtures, divergences.

B records, M experts (one per feature), K components of a mixture, D dimensions. The prior is N(0, I).
A Gaussian is its mean and the logarithm of its variance: precisions are only exponentiated where
they are summed, and `bounded` keeps that in float32's range.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BOUND = 10.0


def bounded(raw: Tensor) -> Tensor:
    """A log-variance in (-BOUND, BOUND), the identity around 0.

    Smooth: behind a hard clamp a network gets no gradient and never comes back.
    """
    return BOUND * torch.tanh(raw / BOUND)


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) = 1/2 sum(s^2 + mean^2 - log s^2 - 1). (..., D) -> (...)"""
    return 0.5 * (log_variance.exp() + mean.square() - log_variance - 1).sum(dim=-1)


def sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """mean + deviation * noise, differentiable in both. Kingma and Welling, ICLR 2014."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


@dataclass(frozen=True)
class Posterior:
    """A mixture of Gaussians for every record, and how much each expert had to say in it.

    mean, log_variance: (B, K, D). share: (B, K), sums to 1. weights: (B, M), sums to 1 over the
    present experts, zero where there is none.
    """

    mean: Tensor
    log_variance: Tensor
    share: Tensor
    weights: Tensor

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the whole mixture, (B, D) each.

        The spread of the means is measured around their own mean: a difference of two large second
        moments would lose the digits.
        """
        share = self.share[..., None]
        mean = (share * self.mean).sum(dim=1)
        spread = self.log_variance.exp() + (self.mean - mean[:, None]).square()
        return mean, (share * spread).sum(dim=1).log()

    def kl(self) -> Tensor:
        """sum_k share_k KL(component_k || prior), which is never below that of the mixture. (B,)"""
        return (self.share * kl_to_prior(self.mean, self.log_variance)).sum(dim=1)

    def sample(self) -> Tensor:
        """A component drawn by its share for every record on its own, then a point of it. (B, D)"""
        chosen = torch.multinomial(self.share, 1)[:, :, None].expand(-1, 1, self.mean.shape[2])
        mean, log_variance = self.mean.gather(1, chosen), self.log_variance.gather(1, chosen)
        return sample(mean, log_variance)[:, 0]


def product(mean: Tensor, log_variance: Tensor, present: Tensor) -> Posterior:
    """Product of the present experts and the prior: precisions add, means weigh by them.

    mean, log_variance: (B, M, D); present: (B, M). Leaving a factor out marginalises it exactly;
    without any the prior is left. Wu and Goodman, NeurIPS 2018.
    """
    there = present[..., None]
    precision = torch.where(there, -log_variance, -torch.inf)  # logarithms
    prior = torch.zeros_like(precision[:, :1])
    total = torch.cat([precision, prior], dim=1).logsumexp(dim=1, keepdim=True)  # (B, 1, D)
    weight = torch.where(there, torch.exp(-log_variance - total), 0)
    alone = weight / _nonzero(weight.sum(dim=1, keepdim=True))  # as if there were no prior
    return Posterior(
        (weight * mean).sum(dim=1, keepdim=True),
        -total,
        torch.ones_like(total[..., 0]),
        alone.mean(dim=2),
    )


def mixture(mean: Tensor, log_variance: Tensor, present: Tensor) -> Posterior:
    """The present experts in equal shares; the prior where there is none. (B, M, D), (B, M).

    Shi, Siddharth, Paige and Torr, NeurIPS 2019.
    """
    zeros = torch.zeros_like(mean[:, :1])
    counted = torch.cat([present, ~present.any(dim=1, keepdim=True)], dim=1).to(mean.dtype)
    share = counted / counted.sum(dim=1, keepdim=True)
    return Posterior(
        torch.cat([mean, zeros], dim=1),
        torch.cat([log_variance, zeros], dim=1),
        share,
        share[:, :-1],
    )


def subsets(count: int, like: Tensor) -> Tensor:
    """Which of `count` members each subset has, the empty one first. (2^count, count) of 0 and 1"""
    numbers = torch.arange(2**count, device=like.device)
    bits = torch.arange(count, device=like.device)
    return ((numbers[:, None] >> bits) & 1).to(like.dtype)


def mixture_of_products(mean: Tensor, log_variance: Tensor, present: Tensor) -> Posterior:
    """Every non-empty subset of the present experts as a product with the prior, in equal shares.

    Products are linear in precision and precision * mean, so that one matrix product with the subsets'
    members gives all 2^M of them. The empty subset is the prior, and counts where nothing is present.
    (B, M, D), (B, M). Sutter, Daunhawer and Vogt, ICLR 2021; their code has the prior in the full
    subset only.
    """
    members = subsets(mean.shape[1], mean)
    precision = torch.where(present[..., None], torch.exp(-log_variance), 0)
    sums = members @ torch.cat([precision, precision * mean], dim=2)  # (B, K, 2D)
    summed, weighted = sums.chunk(2, dim=2)
    absent = (~present).to(mean.dtype) @ members.T  # (B, K): members the record lacks
    open_to = (absent == 0).to(mean.dtype)
    open_to[:, 0] = (~present.any(dim=1)).to(mean.dtype)
    share = open_to / open_to.sum(dim=1, keepdim=True)
    # How much of a subset's precision an expert brings, averaged over the subsets by their share.
    parts = members.T @ (share[..., None] / _nonzero(summed))  # (B, M, D)
    return Posterior(
        weighted / (1 + summed), -torch.log1p(summed), share, (parts * precision).mean(dim=2)
    )


def _nonzero(values: Tensor) -> Tensor:
    """A divisor: 1 where it would be 0, so that neither 0/0 nor its gradient arises."""
    return torch.where(values > 0, values, 1)
