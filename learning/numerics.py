"""Functions whose textbook form breaks at zero."""

import torch
from torch import Tensor

EPSILON = 1e-6


def signed_sqrt(values: Tensor, epsilon: float = EPSILON) -> Tensor:
    """x / sqrt(|x| + epsilon): sign(x) sqrt(|x|) with a slope of at most 1/sqrt(epsilon) at zero."""
    return values * torch.rsqrt(values.abs() + epsilon)
