"""Features as tokens of one width, which attention works on. A plain vector is a sequence of one step.

B records, T steps, D length of a feature, N tokens per step, W width of a token.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fusion.per_feature import linear


class Tokens(nn.Module):
    """N tokens per step by one linear map per feature, plus where in the sequence the step stands.

    N > 1 gives a vector several tokens that attention can weigh; one could only be taken or left.
    """

    def __init__(self, dims: Mapping[str, int], count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.width = width
        self.projection = linear(dims, count * width)

    def forward(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(B, T, D) and (B, T) of every feature -> (B, T N, W) and (B, T N)."""
        tokens = {}
        for name, steps in self.projection(values).items():
            steps = steps.unflatten(2, (self.count, self.width))  # (B, T, N, W)
            place = positions(steps.shape[1], self.width).to(steps)
            tokens[name] = (steps + place[:, None]).flatten(1, 2)
        return tokens, {n: mask.repeat_interleave(self.count, 1) for n, mask in present.items()}


def positions(steps: int, width: int) -> Tensor:
    """Sines and cosines of the step number at geometric wavelengths. (T, W), zero at step 0.

    Vaswani et al., Attention Is All You Need, NeurIPS 2017, less the value of step 0, so that a
    vector that is no sequence is left as it is.
    """
    half = -(-width // 2)
    rates = torch.exp(torch.arange(half) * (-math.log(10_000.0) / half))
    angles = torch.arange(steps)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos() - 1], dim=1)[:, :width]
