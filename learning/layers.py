"""Small networks that several parts share."""

from collections.abc import Sequence

from torch import nn


def mlp(size: int, hidden: Sequence[int], out: int) -> nn.Sequential:
    """size -> hidden[0] -> ... -> out with GELU between; linear without hidden layers. (B, size) -> (B, out)"""
    widths = [size, *hidden]
    layers: list[nn.Module] = []
    for width, following in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(width, following), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], out))
