import numpy as np
import pytest

from pipeline.extract import encode_window


class Small:
    """An encoder with room for so many items at once, that can't compute some of them."""

    dim = 2

    def __init__(self, room, bad=()):
        self.room, self.bad, self.calls = room, set(bad), 0

    def encode(self, batch):
        self.calls += 1
        present = [item for item in batch if item is not None]
        if len(present) > self.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        if self.bad & set(present):
            raise ValueError("no such   shape")
        return np.array([[0, 0] if item is None else [item, 1] for item in batch], np.float32)


def test_what_fits_is_one_call():
    encoder = Small(64)
    matrix, failed = encode_window(encoder, [3, None, 5])
    assert matrix.tolist() == [[3, 1], [0, 0], [5, 1]]
    assert (failed, encoder.calls) == ({}, 1)


def test_too_much_at_once_is_done_in_parts():
    encoder = Small(8)
    matrix, failed = encode_window(encoder, list(range(64)))
    assert matrix[:, 0].tolist() == list(range(64))
    assert not failed
    assert encoder.calls == 15  # 64, then halves down to 8


@pytest.mark.parametrize("bad", [[0], [41], [63], [0, 1, 40]])
def test_a_bad_item_costs_only_itself(bad):
    items = [None if i % 7 == 3 else i for i in range(64)]
    encoder = Small(64, bad)
    matrix, failed = encode_window(encoder, items)
    assert sorted(failed) == bad
    assert {(str(e.reason), e.message) for e in failed.values()} == {
        ("MODEL_ERROR", "ValueError: no such shape")
    }
    for i, item in enumerate(items):
        assert matrix[i].tolist() == ([0, 0] if item is None or i in bad else [i, 1])
    assert encoder.calls <= 1 + 2 * len(bad) * 6  # halving, not one by one


def test_an_item_that_is_too_large_alone_is_out_of_memory():
    matrix, failed = encode_window(Small(0), [None, 7])
    assert matrix.tolist() == [[0, 0], [0, 0]]
    assert [(place, str(error.reason)) for place, error in failed.items()] == [(1, "OOM")]
