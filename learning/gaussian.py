"""Diagonal Gaussians and what probabilistic fusion does with them: products, mixtures, divergences.

B records, M experts (one per feature), K components of a mixture, D dimensions. The prior is N(0, I).
Encoders give log-variances, which `bounded` keeps where precisions neither overflow nor vanish.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.utils.checkpoint import checkpoint

BOUND = 10.0
SLICE = 2**22  # bytes of the components of as many records as are looked at together


def bounded(raw: Tensor) -> Tensor:
    """A log-variance in (-BOUND, BOUND), the identity around 0.

    Smooth: behind a hard clamp a network gets no gradient and never comes back.
    """
    return BOUND * torch.tanh(raw / BOUND)


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) = 1/2 sum(s^2 + mean^2 - log s^2 - 1). (..., D) -> (...)"""
    return 0.5 * (log_variance.exp() + mean.square() - log_variance - 1).sum(dim=-1)


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
        mean, precision = self.component(torch.multinomial(self.share, 1)[:, 0])
        return mean + precision.rsqrt() * torch.randn_like(mean)

    def component(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and precision of one component of every record: (B,) -> (B, D) each."""
        place = chosen[:, None, None].expand(-1, 1, self.mean.shape[2])
        return self.mean.gather(1, place)[:, 0], self.precision.gather(1, place)[:, 0]


@dataclass(frozen=True)
class Mixture(Posterior):
    """All components as they are."""

    mean: Tensor
    precision: Tensor
    share: Tensor
    weights: Tensor


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
    return Mixture(
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
    return Mixture(
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


class SubsetPosterior(Posterior):
    """Every subset of M experts as a product with the prior.

    All 2^M of every record at once are made only for who asks for them; what is summed over them takes
    a slice of the records at a time.

    precision_of, moment_of: (B, M, D), the experts' precisions and precision * mean, zero where absent.
    members: (K, M) of 0 and 1. share: (B, K).
    """

    def __init__(
        self, precision_of: Tensor, moment_of: Tensor, members: Tensor, share: Tensor
    ) -> None:
        self.precision_of = precision_of
        self.moment_of = moment_of
        self.members = members
        self.share = share

    @cached_property
    def _components(self) -> tuple[Tensor, Tensor]:
        return _Products.apply(self.precision_of, self.moment_of, self.members)

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        """(B, K, D)."""
        return self._components[0]

    @property
    def precision(self) -> Tensor:  # type: ignore[override]
        """(B, K, D)."""
        return self._components[1]

    @property
    def weights(self) -> Tensor:  # type: ignore[override]
        """(B, M)."""
        return _shares(self._sliced(_parts).mean(dim=2))

    def moments(self) -> tuple[Tensor, Tensor]:
        """As of any mixture."""
        mean, log_variance = self._sliced(_moments).unbind(dim=1)
        return mean, log_variance

    def kl(self) -> Tensor:
        """As of any mixture."""
        return self._sliced(_kl)

    def component(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Made from its members alone."""
        own = self.members[chosen][:, None]  # (B, 1, M)
        mean, precision = _Products.apply(self.precision_of, self.moment_of, own)
        return mean[:, 0], precision[:, 0]

    def _sliced(self, what: "Callable[[SubsetPosterior], Tensor]") -> Tensor:
        """`what` of the records, a slice of them at a time, which the backward pass makes again."""
        each = len(self.members) * self.precision_of.shape[2] * self.precision_of.element_size()
        step = max(1, SLICE // max(1, each))
        forward_mode = unpack_dual(self.precision_of).tangent is not None  # can't be made again
        if step >= len(self.share) or forward_mode:
            return what(self)

        def of_rows(precision: Tensor, moment: Tensor, share: Tensor) -> Tensor:
            return what(SubsetPosterior(precision, moment, self.members, share))

        rows = (self.precision_of, self.moment_of, self.share)
        parts = zip(*(tensor.split(step) for tensor in rows), strict=True)
        again = partial(checkpoint, of_rows, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([again(*part) for part in parts])


def _moments(posterior: Posterior) -> Tensor:
    return torch.stack(Posterior.moments(posterior), dim=1)


def _kl(posterior: Posterior) -> Tensor:
    return Posterior.kl(posterior)


def _parts(posterior: SubsetPosterior) -> Tensor:
    """How much of the joint precision each expert brings: (B, M, D)."""
    members = posterior.members.T * posterior.share[:, None]  # (B, M, K)
    return members @ posterior.precision.reciprocal() * posterior.precision_of


class _Products(torch.autograd.Function):
    """members @ moment / precision and precision = 1 + members @ precision, in as few passes as there are."""

    @staticmethod
    def forward(precision: Tensor, moment: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        total = (members @ precision).add_(1)
        return (members @ moment).div_(total), total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*output, inputs[2])
        ctx.save_for_forward(*output, inputs[2])

    @staticmethod
    def backward(ctx: Any, d_mean: Tensor, d_total: Tensor) -> tuple[Tensor | None, ...]:
        mean, total, members = ctx.saved_tensors
        to_moment = d_mean / total
        to_precision = torch.addcmul(d_total, to_moment, mean, value=-1)
        return members.mT @ to_precision, members.mT @ to_moment, None

    @staticmethod
    def jvp(ctx: Any, precision: Tensor, moment: Tensor, _: None) -> tuple[Tensor, Tensor]:
        mean, total, members = ctx.saved_tensors
        d_total = members @ precision
        return (members @ moment - mean * d_total) / total, d_total


def mixture_of_products(mean: Tensor, log_variance: Tensor, present: Tensor) -> SubsetPosterior:
    """Every non-empty subset of the present experts as a product with the prior, in equal shares.

    Products are linear in precision and precision * mean, so that one matrix product with the subsets'
    members gives all 2^M of them. The empty subset is the prior, and counts where nothing is present.
    (B, M, D), (B, M). Sutter, Daunhawer and Vogt, ICLR 2021; their code has the prior in the full
    subset only.
    """
    members = subsets(mean.shape[1], mean)
    precision = torch.where(present[..., None], torch.exp(-log_variance), 0)
    absent = (~present).to(mean.dtype) @ members.T  # (B, K): members the record lacks
    counted = (absent == 0).to(mean.dtype)
    counted[:, 0] = (~present.any(dim=1)).to(mean.dtype)
    share = counted / counted.sum(dim=1, keepdim=True)
    return SubsetPosterior(precision, precision * mean, members, share)


def _shares(parts: Tensor) -> Tensor:
    """How much of the joint precision each expert brings, the prior left out: (B, M) to sum 1 or 0."""
    total = parts.sum(dim=1, keepdim=True)
    return parts / torch.where(total > 0, total, 1)
