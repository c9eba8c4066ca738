"""How large batches grow: the search on functions, and what it leaves on a real encoder."""

import numpy as np
import pytest
import torch

import encoders
from encoders import gpu_batch
from encoders.base import EncoderSpec


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({1: 100, 2: 90}, 1),
        ({1: 100, 2: 104}, 1),  # less than a twentieth more
        ({1: 100, 2: 190, 4: 300, 8: 301}, 4),
        ({1: 100, 2: 190}, 2),  # four times would not fit
        ({1: 100}, 1),
        ({2**i: 2.0**i for i in range(7)}, 64),  # an end even where it always gains
    ],
)
def test_it_doubles_while_that_gains_and_fits(rates, expected):
    asked = []

    def rate(factor):
        asked.append(factor)
        if factor not in rates:
            raise torch.OutOfMemoryError("as CUDA raises it")
        return rates[factor]

    assert gpu_batch.grow(rate) == (expected, rates)
    assert asked[: len(rates)] == list(rates)
    assert len(asked) <= len(rates) + 1


def test_another_error_is_not_taken_for_want_of_memory():
    def rate(factor):
        raise RuntimeError("illegal memory access")

    with pytest.raises(RuntimeError, match="illegal"):
        gpu_batch.grow(rate)


def test_the_encoder_keeps_what_was_chosen(data):
    folder = str(data / "weights/hf/mobilenet_v1_0.25_128")
    encoder = encoders.build(EncoderSpec("image", "transformers", {"model": folder}))
    probes = list(np.random.default_rng(0).integers(0, 256, (5, 3, 128, 128), np.uint8))
    chosen, rates = gpu_batch.choose(encoder, probes)
    assert encoder.batch == chosen
    assert chosen in rates
    assert all(rate > 0 for rate in rates.values())
