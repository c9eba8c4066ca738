"""One vector per example from what a backbone gives, and one per item from its examples.

Shapes: E examples (pictures, chunks of text, windows of sound), T tokens or frames, D dimensions,
C x H x W a feature map, B items.
"""

import torch
from torch import Tensor

POOLINGS = ("cls", "mean", "max", "pooler")


def check(pooling: str | None) -> None:
    """Raises ValueError unless `pooling` is None (the model's own choice) or one of POOLINGS."""
    if pooling is not None and pooling not in POOLINGS:
        raise ValueError(f"expected pooling {' | '.join(POOLINGS)}, got {pooling!r}")


def pool(hidden: Tensor, how: str, *, prefix: int = 0, count: Tensor | None = None) -> Tensor:
    """(E, T, D) tokens or an (E, C, H, W) map -> (E, D) float32; `how` is cls, mean or max.

    prefix: leading tokens that are no part of the picture or sound (class, distillation and
    register tokens), left out of mean and max. count: (E,) how many tokens of each row are real;
    the rest is padding and changes nothing.
    """
    if hidden.ndim == 4:
        hidden = hidden.flatten(2).transpose(1, 2)  # (E, H*W, C)
    hidden = hidden.float()
    if how == "cls":
        return hidden[:, 0]
    hidden = hidden[:, prefix:]
    if count is None:
        return hidden.mean(1) if how == "mean" else hidden.amax(1)
    real = torch.arange(hidden.shape[1], device=hidden.device) < count[:, None]  # (E, T)
    if how == "mean":
        total = hidden.masked_fill(~real[..., None], 0.0).sum(1)
        return total / count[:, None]
    return hidden.masked_fill(~real[..., None], -torch.inf).amax(1)


def average(vectors: Tensor, owner: Tensor, weight: Tensor, items: int) -> Tensor:
    """(E, D) -> (B, D): the weighted mean of each item's examples; zero for an item without any.

    owner: (E,) which item each example belongs to; weight: (E,) positive.
    """
    total = weight.new_zeros(items).index_add_(0, owner, weight)
    share = weight / total[owner]  # exactly 1 for a lone example: its vector keeps its bits
    return vectors.new_zeros(items, vectors.shape[1]).index_add_(
        0, owner, vectors * share[:, None].to(vectors.dtype)
    )
