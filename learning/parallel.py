"""Data-parallel training in three functions; with one worker they do nothing.

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
