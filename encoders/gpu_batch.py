"""How large the batches of a GPU should be: found by trying, before anything is planned.

It depends on the network, on the GPU and on its memory. Found once and kept with the run's settings,
for the size of a batch decides the low bits of its vectors.
"""

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import torch

from encoders.base import Encoder, Prepared

_MOST = 64  # times the batches that an encoder has by itself
_GAIN = 1.05  # what twice the batch must bring to be worth its memory
_ITEMS = 128  # to encode per trial, times the batch


def choose(encoder: Any, probes: Sequence[Prepared]) -> tuple[int, dict[int, float]]:
    """The factor on the encoder's own batches to compute with, and items a second by factor.

    encoder: a network on a GPU, with the attribute `batch`; it has the one that was chosen afterwards.
    probes: prepared items of the corpus, at least one.
    """

    def rate(factor: int) -> float:
        encoder.batch = factor
        items = list(islice(cycle(probes), _ITEMS * factor))
        return max(_rate(encoder, items) for _ in range(2))  # the first one also warms up

    encoder.batch, rates = grow(rate)
    return encoder.batch, rates


def grow(rate: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """The smallest power of two whose double brings less than a twentieth, or does not fit.

    rate: items a second with this factor; raises torch.OutOfMemoryError.
    """
    rates = {1: rate(1)}
    factor = 1
    while factor < _MOST:
        try:
            rates[2 * factor] = rate(2 * factor)
        except torch.OutOfMemoryError:
            break
        if rates[2 * factor] < _GAIN * rates[factor]:
            break
        factor *= 2
    return factor, rates


def _rate(encoder: Encoder, items: Sequence[Prepared]) -> float:
    started = time.perf_counter()
    encoder.encode(items)
    return len(items) / (time.perf_counter() - started)
