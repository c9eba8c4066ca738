"""Functions whose textbook form breaks at zero, or in half precision."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

EPSILON = 1e-6


def signed_sqrt(values: Tensor, epsilon: float = EPSILON) -> Tensor:
    """x / sqrt(|x| + epsilon): sign(x) sqrt(|x|) with a slope of at most 1/sqrt(epsilon) at zero."""
    return values * values.abs().add_(epsilon).rsqrt_()


def without_autocast(like: Tensor) -> AbstractContextManager[None]:
    """Operations on the device of this tensor keep the types of their inputs."""
    device = like.device.type
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
