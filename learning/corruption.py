"""What a denoising autoencoder does to its inputs (Vincent, Larochelle, Bengio and Manzagol, ICML 2008).

The noise is drawn from torch's generator, anew for every batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def none(values: Tensor, rate: float) -> Tensor:
    """Nothing."""
    return values


def gaussian(values: Tensor, rate: float) -> Tensor:
    """x + rate * N(0, I): on standardised inputs `rate` is in deviations."""
    return values + rate * torch.randn_like(values)


def masking(values: Tensor, rate: float) -> Tensor:
    """Each coordinate is 0 with probability `rate`: on standardised inputs, its mean."""
    return torch.where(torch.rand_like(values) < rate, 0, values)


CORRUPTIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "none": none,
    "gaussian": gaussian,
    "masking": masking,
}


def check(name: str, rate: float) -> None:
    """Raises ValueError for an unknown corruption, or a rate that it can't have."""
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}; known: {', '.join(CORRUPTIONS)}")
    most = 1.0 if name == "masking" else float("inf")
    if not 0 <= rate < most:
        raise ValueError(f"rate: expected 0 <= rate < {most:g} for {name}, got {rate}")
