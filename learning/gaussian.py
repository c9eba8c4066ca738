"""Diagonal Gaussians and what probabilistic fusion does with them: products, mixtures, divergences.

B records, M experts (one per feature), K components of a mixture, D dimensions. The prior is N(0, I).
Encoders give log-variances, which `bounded` keeps where precisions neither overflow nor vanish.
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


@dataclass(frozen=True)
class Posterior:
    """A mixture of Gaussians for every record, and how much each expert had to say in it.

    mean, precision: (B, K, D). share: (B, K), sums to 1. weights: (B, M), sums to 1 over the present
    experts, zero where there is none.
    """

    mean: Tensor
    precision: Tensor
    share: Tensor
    weights: Tensor

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the whole mixture, (B, D) each.

        The spread of the means is measured around their own mean: a difference of two large second
        moments would lose the digits.
        """
        share = self.share[:, None]  # (B, 1, K)
        mean = share @ self.mean
        apart = self.mean - mean
        spread = torch.addcmul(self.precision.reciprocal(), apart, apart)
        return mean[:, 0], (share @ spread)[:, 0].log()

    def kl(self) -> Tensor:
        """sum_k share_k KL(component_k || prior), which is never below that of the mixture. (B,)"""
        return (self.share * kl_to_prior(self.mean, -self.precision.log())).sum(dim=1)

    def sample(self) -> Tensor:
        """A component drawn by its share for every record on its own, then a point of it. (B, D)

        mean + deviation * noise, differentiable in both. Kingma and Welling, ICLR 2014.
        """
        chosen = torch.multinomial(self.share, 1)[:, :, None].expand(-1, 1, self.mean.shape[2])
        mean, precision = (t.gather(1, chosen)[:, 0] for t in (self.mean, self.precision))
        return mean + precision.rsqrt() * torch.randn_like(mean)


def product(mean: Tensor, log_variance: Tensor, present: Tensor) -> Posterior:
    """Product of the present experts and the prior: precisions add, means weigh by them.

    mean, log_variance: (B, M, D); present: (B, M). Leaving a factor out marginalises it exactly;
    without any the prior is left. Wu and Goodman, NeurIPS 2018.
    """
    there = present[..., None]
    logs = torch.where(there, -log_variance, -torch.inf)  # of the precisions
    prior = torch.zeros_like(logs[:, :1])
    total = torch.cat([logs, prior], dim=1).logsumexp(dim=1, keepdim=True)  # (B, 1, D)
    part = torch.where(there, torch.exp(-log_variance - total), 0)  # of the joint precision
    return Posterior(
        (part * mean).sum(dim=1, keepdim=True),
        total.exp(),
        torch.ones_like(total[..., 0]),
        _shares(part.mean(dim=2)),
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
        torch.cat([-log_variance, zeros], dim=1).exp(),
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
    # The prior is one more expert, a member of every subset.
    own = torch.cat([precision, torch.ones_like(precision[:, :1])], dim=1)
    moment = torch.cat([precision * mean, torch.zeros_like(precision[:, :1])], dim=1)
    everywhere = torch.cat([members, torch.ones_like(members[:, :1])], dim=1)  # (K, M + 1)
    total, weighted = (everywhere @ torch.cat([own, moment], dim=2)).chunk(2, dim=2)
    absent = (~present).to(mean.dtype) @ members.T  # (B, K): members the record lacks
    counted = (absent == 0).to(mean.dtype)
    counted[:, 0] = (~present.any(dim=1)).to(mean.dtype)
    share = counted / counted.sum(dim=1, keepdim=True)
    part = members.T @ (share[..., None] / total) * precision  # (B, M, D)
    return Posterior(weighted / total, total, share, _shares(part.mean(dim=2)))


def _shares(parts: Tensor) -> Tensor:
    """How much of the joint precision each expert brings, the prior left out: (B, M) to sum 1 or 0."""
    total = parts.sum(dim=1, keepdim=True)
    return parts / torch.where(total > 0, total, 1)
