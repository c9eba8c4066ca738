"""Data-parallel training in a few functions; with one worker they do nothing.

Plain collectives instead of a wrapper module: a learner may call any method of its modules, and a
parameter that a batch did not touch simply contributes zero.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    """This worker's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """How many workers train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def average(values: Tensor) -> Tensor:
    """The mean over the workers of a tensor all of them have."""
    if world() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / world()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the workers, in one message."""
    if world() == 1:
        return
    parameters = list(parameters)
    flat = torch.cat(
        [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters]
    )
    mean = average(flat).split([p.numel() for p in parameters])
    for parameter, gradient in zip(parameters, mean, strict=True):
        parameter.grad = gradient.view_as(parameter).clone()


def broadcast(module: nn.Module) -> None:
    """Everybody starts from the weights of worker 0."""
    if world() == 1:
        return
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


def gather(value: Any) -> list[Any]:
    """One picklable value of every worker, in order of rank."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, value)
    return found


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all workers in order of rank: (B_k, ...) -> (sum of B_k, ...), gradients included.

    The backward pass adds up what every worker's loss says about these rows. So a loss of all rows,
    computed alike by everybody, has after `average_gradients` the gradient of one big worker.
    """
    return rows if world() == 1 else _GatherRows.apply(rows)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.sizes = _sizes(rows)
        # Collectives want equal shapes, and the last batch of a worker may be shorter.
        padded = rows.new_zeros((max(ctx.sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in ctx.sizes]
        dist.all_gather(found, padded)
        return torch.cat([part[:size] for part, size in zip(found, ctx.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total.split(ctx.sizes)[rank()]


def _sizes(rows: Tensor) -> list[int]:
    mine = torch.tensor([len(rows)], device=rows.device)
    found = [torch.empty_like(mine) for _ in range(world())]
    dist.all_gather(found, mine)
    return [int(size) for size in found]
