"""Matching pairs pulled together, all others pushed apart: InfoNCE and the sigmoid loss.

B pairs, D dimensions; row i of `x` belongs to row i of `y`. An absent row is neither a positive nor a
negative: it is masked among the rows and among the columns.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid


def info_nce(x: Tensor, y: Tensor, scale: Tensor, x_present: Tensor, y_present: Tensor) -> Tensor:
    """Symmetric cross-entropy of scale x_i·y_j, each row finding its own partner.

    -1/2 mean_i [log softmax_j(s x_i·y_j)_i + log softmax_j(s x_j·y_i)_i], i over the rows with both,
    j over whatever is present. Radford et al., ICML 2021.

    Args:
        x, y: (B, D) unit vectors; absent rows may hold anything finite.
        scale: s, the inverse temperature.
        x_present, y_present: (B,) bool.

    Returns:
        A scalar; zero where no row has both.
    """
    logits = scale * (x @ y.T)  # (B, B)
    both = x_present & y_present
    own = logits.diagonal()
    # Never -inf: a row without any partner would give NaN in the backward pass.
    low = torch.finfo(logits.dtype).min
    across = torch.where(y_present[None, :], logits, low).logsumexp(dim=1)
    down = torch.where(x_present[:, None], logits, low).logsumexp(dim=0)
    each = (across + down) / 2 - own
    return torch.where(both, each, 0).sum() / both.sum().clamp_min(1)


def siglip(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    bias: Tensor,
    x_present: Tensor,
    y_present: Tensor,
    *,
    chunk: int = 1024,
) -> Tensor:
    """Every pair judged by itself: -1/n sum_ij log sigmoid(z_ij (t x_i·y_j + b)).

    z_ij is 1 on the diagonal and -1 elsewhere; i, j over what is present, n the rows with both. No
    (B, B) matrix ever exists, forward or backward: memory grows with B times `chunk`. Zhai et al.,
    ICCV 2023.

    Args:
        x, y: (B, D) unit vectors; absent rows may hold anything finite.
        scale, bias: t and b, scalars.
        x_present, y_present: (B,) bool.
        chunk: how many columns are compared at a time.

    Returns:
        A scalar; zero where no row has both.
    """
    pairs = (x_present & y_present).sum()
    total: Tensor = _SigmoidPairs.apply(x, y, scale, bias, x_present, y_present, chunk)
    return torch.where(pairs > 0, total / pairs.clamp_min(1), 0)


class _SigmoidPairs(torch.autograd.Function):
    """The sum over all pairs. A scalar's gradients are known up to a factor while it is computed: they
    are summed in the same pass, and a chunk's logits are forgotten at once."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        bias: Tensor,
        x_present: Tensor,
        y_present: Tensor,
        chunk: int,
    ) -> Tensor:
        total, d_scale, d_bias = (x.new_zeros(()) for _ in range(3))
        wanted = any(ctx.needs_input_grad)  # type: ignore[attr-defined]
        d_x, d_y = torch.zeros_like(x), torch.zeros_like(y)
        for start in range(0, len(y), chunk):
            part = slice(start, start + chunk)
            cosine = x @ y[part].T  # (B, chunk)
            sign = torch.full_like(cosine, -1.0)
            sign[part].fill_diagonal_(1.0)
            counts = x_present[:, None] & y_present[None, part]
            margin = sign * (scale * cosine + bias)
            total -= torch.where(counts, logsigmoid(margin), 0).sum()
            if wanted:
                slope = torch.where(counts, -sign * torch.sigmoid(-margin), 0)
                d_scale += (slope * cosine).sum()
                d_bias += slope.sum()
                slope *= scale
                d_x += slope @ y[part]
                d_y[part] = slope.T @ x
        ctx.save_for_backward(d_x, d_y, d_scale, d_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        d_x, d_y, d_scale, d_bias = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad * d_x, grad * d_y, grad * d_scale, grad * d_bias, None, None, None
