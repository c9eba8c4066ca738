import numpy as np
import pytest

from encoders import precision
from encoders.agreement import least_cosine, recall
from encoders.precision import PROBES, choose, gain, passes_gate, resolve

PROBE = np.random.default_rng(0).normal(size=(PROBES, 8)).astype(np.float32)


class Rounded:
    """An encoder whose half precision moves each vector by about `error` of its length."""

    def __init__(self, error):
        self.error = error

    def encode(self, batch):
        vectors = np.stack(batch)
        noise = np.random.default_rng(1).normal(size=vectors.shape)
        noise *= np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(noise, axis=1)[:, None]
        return (vectors + self.error * noise).astype(np.float32)


def build(error):
    return lambda precision: Rounded(0.0 if precision == "fp32" else error)


def test_what_the_user_asks_for_is_taken():
    assert resolve("fp32") == "fp32"
    assert resolve("bf16") == "bf16"


def test_unknown_precision_lists_the_known():
    with pytest.raises(ValueError, match=r"auto \| bf16 \| fp16 \| fp32, got 'int8'"):
        resolve("int8")


def test_fp16_is_refused_on_a_cpu():
    with pytest.raises(ValueError, match="needs a GPU"):
        resolve("fp16", "cpu")


def test_auto_needs_the_flags_and_the_gain(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512f", "amx_tile"})
    assert resolve("auto") == "fp32"
    for flags in ({"amx_bf16", "amx_tile"}, {"avx512_bf16"}):
        monkeypatch.setattr(precision, "cpu_flags", lambda flags=flags: {"fpu", *flags})
        monkeypatch.setattr(precision, "gain", lambda: 1.1)
        assert resolve("auto") == "fp32"
        monkeypatch.setattr(precision, "gain", lambda: 4.0)
        assert resolve("auto") == "bf16"


def test_self_test_measures_a_ratio():
    assert gain() > 0


def test_least_cosine_is_that_of_the_worst_row():
    left = np.array([[1, 0], [1, 0], [0, 0]], np.float32)
    right = np.array([[2, 0], [3, 4], [0, 0]], np.float32)
    assert least_cosine(left, right) == pytest.approx(0.6)
    assert least_cosine(left, np.zeros_like(left)) == 0.0
    assert least_cosine(left, np.full_like(left, np.nan)) == -1.0


def test_recall_is_what_a_plain_search_counts():
    rng = np.random.default_rng(2)
    exact = rng.normal(size=(300, 16)).astype(np.float32)
    other = exact + 0.3 * rng.normal(size=exact.shape).astype(np.float32)
    hits = 0
    for row in range(len(exact)):
        found = []
        for vectors in (exact.astype(np.float64), other.astype(np.float64)):
            cosines = vectors @ vectors[row] / np.linalg.norm(vectors, axis=1)
            order = [place for place in np.argsort(-cosines) if place != row]
            found.append(set(order[:10]))
        hits += len(found[0] & found[1])
    assert recall(exact, other) == pytest.approx(hits / 3000)
    assert recall(exact, 7 * exact) == 1.0
    assert recall(exact, np.full_like(exact, np.inf)) == 0.0


def test_copies_of_one_item_are_each_others_equals():
    copies = np.repeat(np.eye(4, dtype=np.float32), 30, axis=0)
    assert recall(copies, copies[:, ::-1].copy()) == 1.0


def test_neighbours_that_change_fail_the_gate():
    class Shuffling(Rounded):
        """Near one direction, where cosines say little and neighbours much."""

        def encode(self, batch):
            vectors = np.stack(batch) * 0.01 + 1
            return (
                vectors + self.error * 0.01 * np.random.default_rng(3).normal(size=vectors.shape)
            ).astype(np.float32)

    passed, measured = passes_gate(lambda how: Shuffling(how != "fp32"), list(PROBE), "bf16")
    assert measured["least_cosine"] > 0.999
    assert measured["recall"] < 0.9
    assert not passed


def test_a_model_that_fails_early_is_not_asked_further():
    class Counting(Rounded):
        seen = 0

        def encode(self, batch):
            Counting.seen += len(batch)
            return super().encode(batch)

    passed, measured = passes_gate(lambda how: Counting(0.5 * (how != "fp32")), list(PROBE), "bf16")
    assert not passed
    assert measured["probes"] == Counting.seen / 2 < PROBES


def test_gate_follows_the_measured_cosine():
    assert passes_gate(build(0.0005), list(PROBE), "bf16")[0]
    measured = passes_gate(build(0.01), list(PROBE), "bf16")[1]
    assert measured["least_cosine"] == pytest.approx(1 / np.sqrt(1 + 0.01**2), abs=2e-4)
    passed, measured = passes_gate(build(0.1), list(PROBE), "bf16")
    assert not passed
    assert measured["least_cosine"] < 0.999


def test_one_bad_row_fails_the_gate():
    class OneBad(Rounded):
        def encode(self, batch):
            vectors = np.stack(batch)
            if self.error:
                vectors[17] *= -1
            return vectors

    assert not passes_gate(lambda how: OneBad(how != "fp32"), list(PROBE), "bf16")[0]


def test_too_few_probes_are_not_trusted():
    assert not passes_gate(build(0.0), list(PROBE[:-1]), "bf16")[0]


def test_choose_records_what_it_measured(monkeypatch):
    monkeypatch.setattr(precision, "resolve", lambda *_: "bf16")
    chosen, record = choose(build(0.0005), lambda: list(PROBE))
    assert chosen == record["precision"] == "bf16"
    assert record["probes"] == PROBES
    assert record["least_cosine"] > 0.999
    assert record["recall"] > 0.99
    chosen, record = choose(build(0.1), lambda: list(PROBE))
    assert chosen == record["precision"] == "fp32"
    assert record["hardware"] == "bf16"


def no_probes():
    raise AssertionError("probes were gathered")


def test_choose_does_not_second_guess_the_user():
    assert choose(build(0.5), no_probes, precision="bf16")[0] == "bf16"


def test_choose_gathers_no_probes_where_half_precision_does_not_pay(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", set)
    chosen, record = choose(build(0.0), no_probes)
    assert chosen == "fp32"
    assert record == {"asked": "auto", "hardware": "fp32", "precision": "fp32"}


def test_an_operation_that_half_precision_lacks_fails_the_gate():
    class Lacking(Rounded):
        def encode(self, batch):
            if self.error:
                raise NotImplementedError('"conv" not implemented for BFloat16\nmore')
            return super().encode(batch)

    passed, measured = passes_gate(lambda how: Lacking(how != "fp32"), list(PROBE), "bf16")
    assert not passed
    assert measured["failed"] == '"conv" not implemented for BFloat16'
