"""What an operator costs, before it is built: parameters, arithmetic, memory. Nothing is allocated.

The operator is built on torch's meta device, where tensors have shapes and no storage, and run on
meta tensors under a meter. A configuration beyond a memory budget is refused with what would fit.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

import fusion
from fusion.base import Fusion, FusionOutput
from learning.meter import Meter

_HIGHEST = 4096  # where the search for an option that is left to the operator begins


@dataclass(frozen=True)
class Cost:
    """The price of one batch.

    dim: length of the fused vector. parameters: how many. flops: of a forward pass or, training, of
    a whole step. peak_bytes: the most memory at once: weights and intermediate results, and in
    training gradients, the optimiser's two moments and the copy of the best weights that is kept.
    """

    dim: int
    parameters: int
    flops: int
    peak_bytes: int


def describe(
    name: str,
    dims: Mapping[str, int],
    *,
    batch: int = 256,
    steps: int = 1,
    training: bool = False,
    **options: Any,
) -> Cost:
    """What `fusion.build(name, dims, **options)` would cost, in milliseconds and without its memory.

    Every feature of every record is taken to be present. Absent ones save their part of the layers, and
    cost a copy of the features at most.

    Args:
        name: the operator.
        dims: the length of each feature.
        batch: records at a time.
        steps: the length of a record's sequences, for an operator that takes sequences.
        training: a training step instead of a forward pass. What is trained beside the operator
            (decoders, a head) comes on top.
        options: the operator's own.

    Raises:
        ValueError: an unknown name, options that do not fit, or tensors too large for 64 bits.
    """
    try:
        with torch.device("meta"):
            model = fusion.build(name, dims, **options)
        if not any(True for _ in model.parameters()):
            training = False
        meter = Meter()
        if training:
            _train(model, meter, batch, steps)
        else:
            with torch.no_grad(), meter:
                _forward(model.eval(), batch, steps)
    except (RuntimeError, TypeError) as err:  # which of them depends on where torch notices
        if "overflow" not in str(err).lower():
            raise
        raise ValueError(f"{name}: one of its tensors would need more than 2^63 bytes") from err
    stored = sum(_bytes(tensor) for tensor in model.state_dict().values())
    kept = stored if training else 0  # the best weights so far
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(model.dim, parameters, meter.flops, stored + kept + meter.peak)


def afford(
    name: str,
    dims: Mapping[str, int],
    *,
    memory: int,
    batch: int = 256,
    training: bool = True,
    **options: Any,
) -> Cost:
    """The cost of an operator that fits into `memory` bytes.

    Raises:
        ValueError: it does not fit; the message has the number, and for every option that can make
            it fit (a rank, a dimension) the largest value that does.
    """

    def fits(**changed: Any) -> Cost | None:
        try:
            chosen = {**options, **changed}
            cost = describe(name, dims, batch=batch, training=training, **chosen)
        except ValueError:  # a value that the operator does not take, or beyond 64 bits
            return None
        return cost if cost.peak_bytes <= memory else None

    try:
        cost = describe(name, dims, batch=batch, training=training, **options)
    except ValueError as err:
        if "2^63" not in str(err):
            raise
        needed = "more than 2^63 bytes"
    else:
        if cost.peak_bytes <= memory:
            return cost
        needed = f"{size(cost.peak_bytes)} ({cost.parameters:,} parameters)"
    within = []
    for knob, value in _knobs(name, options):
        found = _largest(value, lambda number, knob=knob: fits(**{knob: number}))  # type: ignore[misc]
        if found:
            within.append(f"{knob}: {found[0]} ({size(found[1].peak_bytes)})")
    doing = "to train " if training else ""
    advice = f"; what fits: {' or '.join(within)}" if within else "; no smaller option fits either"
    raise ValueError(
        f"{name} needs {needed} {doing}on batches of {batch}, the memory budget is {size(memory)}"
        f"{advice}"
    )


def size(count: int) -> str:
    """1500000 -> '1.5 MB'; decimal units, as in the configuration."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:,.0f} {units[0]}"


def _knobs(name: str, options: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The operator's whole-numbered options and what they are set to."""
    for field in dataclasses.fields(fusion.options_type(name)):
        if field.type not in (int, int | None):
            continue
        value = options.get(field.name, field.default)
        if value is None:  # the operator's own choice
            value = _HIGHEST
        if isinstance(value, int) and value > 1:
            yield field.name, value


def _largest(value: int, fits: Callable[[int], Cost | None]) -> tuple[int, Cost] | None:
    """The largest number below `value` that fits: halve until one does, then close in on the gap."""
    low, found = value // 2, None
    while low >= 1 and (found := fits(low)) is None:
        low //= 2
    if found is None:
        return None
    high = min(value, 2 * low + 1)
    best = low, found
    while high - low > 1:
        middle = (low + high) // 2
        if cost := fits(middle):
            low, best = middle, (middle, cost)
        else:
            high = middle
    return best


def _forward(model: Fusion, batch: int, steps: int) -> FusionOutput:
    lengths = (steps,) if model.takes_sequences else ()
    features = {n: torch.empty(batch, *lengths, d, device="meta") for n, d in model.dims.items()}
    present = {n: torch.empty(batch, *lengths, dtype=torch.bool, device="meta") for n in model.dims}
    return model(features, present)


def _train(model: Fusion, meter: Meter, batch: int, steps: int) -> None:
    """One step as the training loop takes it, measured after a first one has made the moments."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = AdamW(parameters)
    with meter:
        for _ in range(2):
            meter.flops = 0
            optimiser.zero_grad(set_to_none=True)
            _scalar(_forward(model.train(), batch, steps)).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()


def _scalar(output: FusionOutput) -> Tensor:
    """Something that every output has a part in."""
    given = [output.vector, output.weights, output.log_variance, *output.views.values()]
    parts = [tensor.sum() for tensor in given if tensor is not None and tensor.requires_grad]
    return torch.stack(parts).sum()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
