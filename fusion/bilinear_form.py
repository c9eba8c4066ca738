"""x^T W_k y for many outputs k: a matrix product, in slices of outputs that keep its intermediate small.

B records, I and J the lengths of x and y, K outputs. W y for every record is (B, K, I), far larger
than any input or result; neither the forward nor the backward pass ever holds more than a slice of it.
What fits into one slice is kept for the backward pass, which makes it again otherwise.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from learning.numerics import without_autocast

SLICE = 2**24  # bytes of one slice: large enough for full speed, and at most two are alive


class BilinearForm(nn.Module):
    """(x^T W_1 y, ..., x^T W_K y): (B, I), (B, J) -> (B, K), of unit scale for standardised inputs."""

    def __init__(self, left: int, right: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, left, right) / math.sqrt(left * right))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """left: (B, I), right: (B, J)."""
        with without_autocast(left):
            dtype = self.weight.dtype
            return _Form.apply(left.to(dtype), right.to(dtype), self.weight)


class _Form(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
        result = left.new_empty((len(left), len(weight)))
        parts = list(_slices(left, weight))
        for part in parts:
            mapped = _mapped(right, weight[part])
            result[:, part] = torch.bmm(mapped, left[:, :, None])[:, :, 0]
            kept = mapped if len(parts) == 1 and ctx.needs_input_grad[0] else None
            del mapped  # before the next one is made
        ctx.save_for_backward(left, right, weight, kept)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right, weight, kept = ctx.saved_tensors
        need_left, need_right, need_weight = ctx.needs_input_grad
        to_left = torch.zeros_like(left) if need_left else None
        to_right = torch.zeros_like(right) if need_right else None
        to_weight = torch.empty_like(weight) if need_weight else None
        for part in _slices(left, weight):
            own = gradient[:, part]
            if to_left is not None:
                mapped = _mapped(right, weight[part]) if kept is None else kept
                to_left += torch.bmm(own[:, None, :], mapped)[:, 0]
                del mapped
            outer = (own[:, :, None] * left[:, None, :]).flatten(1)  # (B, slice of K * I)
            if to_right is not None:
                to_right.addmm_(outer, weight[part].flatten(0, 1))
            if to_weight is not None:
                torch.mm(outer.T, right, out=to_weight[part].flatten(0, 1))
            del outer
        return to_left, to_right, to_weight


def _mapped(right: Tensor, weight: Tensor) -> Tensor:
    """W_k y: (B, J), (K, I, J) -> (B, K, I)."""
    return (right @ weight.flatten(0, 1).T).unflatten(1, weight.shape[:2])


def _slices(left: Tensor, weight: Tensor) -> Iterator[slice]:
    step = max(1, SLICE // max(1, left.numel() * left.element_size()))
    for start in range(0, len(weight), step):
        yield slice(start, start + step)
