"""Milliseconds, bytes and state of modules that take turns on the same tensors."""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.cases import BATCH, Case
from learning.meter import Meter

REPEATS = 9


def measure(case: Case) -> dict[str, Any]:
    """One row: what `timed` says of theirs and of ours."""
    row: dict[str, Any] = {"name": case.name, "peer": case.peer, "target": case.target}
    if not case.timed:
        theirs = _forward_bytes(case.theirs, (case.cut, *case.sizes[1:]))
        own = _forward_bytes(case.ours, case.sizes, device="meta")
        return row | {"theirs": {"forward_bytes": theirs}, "ours": {"forward_bytes": own}}
    torch.manual_seed(0)
    modules = {"theirs": case.theirs(), "ours": case.ours()}
    values = [torch.randn(BATCH, size) for size in case.sizes]
    return row | timed(modules, values)


def timed(
    modules: Mapping[str, nn.Module], values: Sequence[Tensor], repeats: int = REPEATS
) -> dict[str, Any]:
    """Of each module: medians of milliseconds forward and backward, peak bytes, parameters, state.

    values: (B, D_m) each. The peak is of tensors beside weights and their gradients.
    """
    values = [value.clone().requires_grad_() for value in values]
    sizes = [value.shape[1] for value in values]
    # Given, so that no loss of ours is part of what is timed.
    gradients = {
        who: [torch.ones_like(output) / output.numel() for output in _outputs(module, values)]
        for who, module in modules.items()
    }
    times: dict[str, list[float]] = {who: [] for who in modules}
    for _ in range(repeats + 1):
        for who, module in modules.items():
            started = time.process_time()
            _step(module, values, gradients[who])
            times[who].append(1000 * (time.process_time() - started))
    found = {}
    for who, module in modules.items():
        with Meter() as meter:
            _step(module, values, gradients[who])
        found[who] = {
            "ms": statistics.median(times[who][1:]),
            "spread": [min(times[who][1:]), max(times[who][1:])],
            "step_bytes": meter.peak,
            "forward_bytes": _forward_bytes(functools.partial(_same, module), sizes),
            "parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
            "state_bytes": _state(module),
        }
    return found


def _same(module: nn.Module) -> nn.Module:
    return module


def _outputs(module: nn.Module, values: Sequence[Tensor]) -> tuple[Tensor, ...]:
    found = module(values)
    return found if isinstance(found, tuple) else (found,)


def _step(module: nn.Module, values: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    for tensor in [*module.parameters(), *values]:
        tensor.grad = None
    torch.autograd.backward(_outputs(module, values), gradients)


def _forward_bytes(
    build: Callable[[], nn.Module], sizes: Sequence[int], device: str = "cpu"
) -> int:
    """The most bytes alive in a forward pass that keeps what the backward pass needs."""
    with torch.device(device):
        module = build()
        values = [torch.zeros(BATCH, size) for size in sizes]
        with Meter() as meter:
            module(values)
    return meter.peak


def _state(module: nn.Module) -> int:
    """What is stored and never learned: sketches, scalings."""
    fixed = [p for p in module.parameters() if not p.requires_grad]
    return sum(t.numel() * t.element_size() for t in [*fixed, *module.buffers()])
