"""The log-mel front end against a slow one written from the published constants."""

import math

import numpy as np
import pytest

from encoders import mel
from encoders.media.errors import MediaError, Reason
from encoders.media.types import Waveform
from encoders.windows import waveform_examples


def slow_log_mel(samples: np.ndarray, offset: float) -> np.ndarray:
    """A frame at a time, a bin at a time, by the definition of the Fourier transform."""
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)])
    basis = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    edges = np.linspace(1127 * math.log(1 + 125 / 700), 1127 * math.log(1 + 7500 / 700), 66)
    bands = np.zeros((257, 64))
    for k in range(1, 257):
        m = 1127 * math.log(1 + 31.25 * k / 700)
        for j in range(64):
            rising = (m - edges[j]) / (edges[j + 1] - edges[j])
            falling = (edges[j + 2] - m) / (edges[j + 2] - edges[j + 1])
            bands[k, j] = max(0.0, min(rising, falling))
    frames = []
    start = 0
    while start + 400 <= len(samples):
        magnitude = np.abs(basis @ (samples[start : start + 400].astype(np.float64) * window))
        frames.append(np.log(magnitude @ bands + offset))
        start += 160
    return np.array(frames).reshape(-1, 64)


def tone(rate: int, seconds: float, hertz: float = 1000.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype("f4")


@pytest.mark.parametrize("offset", [0.01, 0.001])
@pytest.mark.parametrize("kind", ["tone", "noise", "silence", "clicks"])
def test_equals_the_definition(kind: str, offset: float) -> None:
    samples = {
        "tone": tone(16_000, 0.7),
        "noise": np.random.default_rng(0).uniform(-1, 1, 9_000).astype("f4"),
        "silence": np.zeros(5_000, "f4"),
        "clicks": (np.arange(9_000) % 1_700 == 0).astype("f4"),
    }[kind]
    got = mel.log_mel(samples, offset=offset)
    assert got.dtype == np.float32
    expected = slow_log_mel(samples, offset)
    # Of the levels: float32 knows a band beside a loud one to a hundred millionth of that.
    np.testing.assert_allclose(np.exp(got), np.exp(expected), rtol=1e-5, atol=1e-6)


def test_examples_of_a_network_are_of_these_levels() -> None:
    samples = np.random.default_rng(2).uniform(-1, 1, 50_000).astype("f4")
    first, last = waveform_examples(Waveform(samples, 16_000), offset=0.01, hop=150)
    expected = slow_log_mel(samples, 0.01)
    np.testing.assert_allclose(first, expected[:96], atol=1e-5)
    np.testing.assert_allclose(last, expected[150:246], atol=1e-5)


@pytest.mark.parametrize(
    "samples", [0, 399, 400, 559, 560, 15_599, 15_600, 30_960, 1_024 * 160 + 400]
)
def test_frame_count(samples: int) -> None:
    expected = max(0, 1 + (samples - 400) // 160)
    assert mel.log_mel(np.zeros(samples, "f4"), offset=0.01).shape == (expected, 64)


def test_blocks_leave_no_seam() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 160 * 2_100).astype("f4")
    whole = mel.log_mel(samples, offset=0.01)
    around = mel.log_mel(samples[160 * 1_000 : 160 * 1_060], offset=0.01)
    # Where a row stands in a matrix decides its last bit on some processors.
    np.testing.assert_allclose(whole[1_000 : 1_000 + len(around)], around, rtol=1e-6, atol=1e-6)


def test_what_follows_a_frame_does_not_change_a_bit_of_it() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 160 * 300).astype("f4")
    whole, begun = (mel.log_mel(part, offset=0.01) for part in (samples, samples[: 160 * 150]))
    np.testing.assert_array_equal(whole[: len(begun)], begun)


def test_published_facts_about_the_matrix() -> None:
    matrix = mel.mel_matrix()
    used = np.flatnonzero(matrix.any(axis=1))
    assert matrix.shape == (257, 64)
    assert np.count_nonzero(matrix) == 461
    assert (used.min(), used.max()) == (5, 239)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("hertz", [300.0, 1_000.0, 3_000.0])
def test_another_rate_gives_nearly_the_same_levels(rate: int, hertz: float) -> None:
    reference = mel.log_mel(tone(16_000, 1.0, hertz), offset=0.01)
    other = mel.log_mel(tone(rate, 1.0, hertz), rate, offset=0.01)
    assert abs(len(other) - len(reference)) <= 1
    loudest = reference.mean(axis=0).argmax()
    assert abs(other.mean(axis=0).argmax() - loudest) <= 1
    assert other.mean(axis=0).max() == pytest.approx(reference.mean(axis=0).max(), abs=0.2)


def test_examples_are_runs_of_frames() -> None:
    spectrogram = np.arange(300 * 64, dtype=np.float32).reshape(300, 64)
    got = mel.examples(spectrogram, 48)
    assert got.shape == (1 + (300 - 96) // 48, 96, 64)
    np.testing.assert_array_equal(got[2], spectrogram[96:192])
    assert mel.examples(spectrogram[:95], 48).shape == (0, 96, 64)


@pytest.mark.parametrize(
    ("samples", "rate", "reason"),
    [
        ([], 16_000, Reason.EMPTY),
        ([0.0, np.nan], 16_000, Reason.NON_FINITE),
        ([0.0, np.inf], 16_000, Reason.NON_FINITE),
        ([0.0, 0.1], 8, Reason.UNSUPPORTED),
        ([0.0, 0.1], 2**31, Reason.UNSUPPORTED),
    ],
)
def test_unusable_sounds(samples: list[float], rate: int, reason: Reason) -> None:
    with pytest.raises(MediaError) as caught:
        mel.usable(Waveform(np.array(samples, "f4"), rate))
    assert caught.value.reason is reason


def test_levels_of_silence_and_of_one_sample() -> None:
    assert not mel.levels(Waveform(np.zeros(8_000, "f4"), 8_000), offset=0.01).any()
    assert mel.levels(Waveform(np.ones(1, "f4"), 44_100), offset=0.01).shape == (1, 64)
