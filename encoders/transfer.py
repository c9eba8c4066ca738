"""Tensors on their way to the device that computes with them."""

import torch
from torch import Tensor


def to_device(value: Tensor, device: torch.device | str) -> Tensor:
    """`value` there. To a GPU it goes through pinned memory, and nothing waits for its arrival: the
    next batch is put together while this one is copied and computed."""
    if torch.device(device).type != "cuda" or value.is_cuda:
        return value.to(device)
    return value.pin_memory().to(device, non_blocking=True)
