"""The log-mel front end that VGGish, YAMNet and our sound descriptors share. No torch, which takes
seconds to import: who has it hands its transform in.

At 16 kHz these are the constants of the AudioSet reference code (tensorflow/models,
research/audioset: vggish_params.py, mel_features.py), which differ from the usual library defaults:
a 25 ms periodic Hann window every 10 ms, no centring, the magnitude and not the power spectrum, 64
triangles from 125 to 7500 Hz that are straight in mel and not in hertz, no area normalisation.

Letters in shapes: N samples, F frames, E examples (fixed-length runs of frames).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from encoders.media.errors import MediaError, Reason
from encoders.media.types import Waveform

RATE = 16_000
BANDS = 64
HOP_SAMPLES = 160
EXAMPLE_FRAMES = 96  # 0.96 s
EXAMPLE_SAMPLES = 15_600  # what 96 frames need: 95 hops of 160 and one window of 400

_WINDOW_SECONDS = 0.025
_HOP_SECONDS = 0.010
_LOWEST, _HIGHEST = 125.0, 7500.0  # Hz
_RATES = (1_000, 768_000)  # outside of these a header is wrong, or a window gets absurdly large
_BLOCK = 128  # frames transformed at once: they stay in the cache of a core from step to step

Transform = Callable[[np.ndarray], np.ndarray]  # (F, T) float32 -> (F, T // 2 + 1) complex64


def log_mel(
    samples: np.ndarray, rate: int = RATE, *, offset: float, rfft: Transform = np.fft.rfft
) -> np.ndarray:
    """ln(mel + offset) of each frame: (N,) float32 in [-1, 1] -> (F, 64) float32.

    At another rate than 16 kHz the frames last as long, the bands span the same hertz, and the
    values are scaled so that the same sound gives nearly the same spectrogram. So a descriptor
    needs no resampling; a network that was trained at 16 kHz still wants it.
    """
    window, hop = _window(rate), max(1, round(_HOP_SECONDS * rate))
    if len(samples) < len(window):
        return np.empty((0, BANDS), np.float32)
    size = _fft_size(rate)
    bands = (mel_matrix(rate, size) * _scale(rate, size)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, len(window))[::hop]
    levels = np.empty((len(frames), BANDS), np.float32)
    windowed = np.zeros((_BLOCK, size), np.float32)
    for start in range(0, len(frames), _BLOCK):
        block = frames[start : start + _BLOCK]
        np.multiply(block, window, out=windowed[: len(block), : len(window)])
        # All rows, whether filled or not: the bits of one don't depend on how many follow it.
        levels[start : start + _BLOCK] = (np.abs(rfft(windowed)) @ bands)[: len(block)]
    levels += np.float32(offset)
    return np.log(levels, out=levels)


@lru_cache(maxsize=16)
def mel_matrix(rate: int = RATE, size: int = 512) -> np.ndarray:
    """Spectrum -> bands: (size // 2 + 1, 64) float64, read-only.

    Triangles with equally spaced corners in m(f) = 1127 ln(1 + f / 700), straight in m. The row of
    0 Hz is zero. Bands above half the sample rate are zero.
    """
    corners = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), BANDS + 2)
    position = _mel(np.arange(size // 2 + 1) * rate / size)[:, None]
    rising = (position - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - position) / (corners[2:] - corners[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    weights.flags.writeable = False
    return weights


def examples(spectrogram: np.ndarray, hop: int) -> np.ndarray:
    """(F, 64) -> (E, 96, 64), `hop` frames apart; an incomplete last one is dropped. A view."""
    if len(spectrogram) < EXAMPLE_FRAMES:
        return np.empty((0, EXAMPLE_FRAMES, BANDS), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(spectrogram, EXAMPLE_FRAMES, axis=0)
    return windows[::hop].swapaxes(1, 2)


def levels(sound: Waveform, *, offset: float) -> np.ndarray:
    """ln(1 + mel / offset) at the sound's own rate: (F, 64) float32 >= 0, F >= 1, silence is zero.

    A sound shorter than one window is padded with zeros to one.

    Raises:
        MediaError: as `usable`.
    """
    samples = usable(sound)
    missing = max(0, len(_window(sound.rate)) - len(samples))
    spectrogram = log_mel(np.pad(samples, (0, missing)), sound.rate, offset=offset)
    return np.maximum(spectrogram - np.float32(np.log(offset)), 0)


def usable(sound: Waveform) -> np.ndarray:
    """The samples of a sound, checked.

    Raises:
        MediaError: EMPTY, NON_FINITE, or UNSUPPORTED for a rate no recording has.
    """
    if len(sound.samples) == 0:
        raise MediaError(Reason.EMPTY, "the sound holds no samples")
    if not np.isfinite(sound.samples).all():
        raise MediaError(Reason.NON_FINITE, "the sound holds NaN or infinite samples")
    if not _RATES[0] <= sound.rate <= _RATES[1]:
        raise MediaError(
            Reason.UNSUPPORTED,
            f"sample rate {sound.rate} Hz; expected {_RATES[0]} to {_RATES[1]} Hz",
        )
    return sound.samples


def _mel(hertz: float | np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


@lru_cache(maxsize=16)
def _window(rate: int) -> np.ndarray:
    length = round(_WINDOW_SECONDS * rate)
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


def _fft_size(rate: int) -> int:
    return 1 << (len(_window(rate)) - 1).bit_length()


def _scale(rate: int, size: int) -> float:
    """1 at 16 kHz. A magnitude grows with the sum of the window, a band with the bins in it."""
    reference = 200 / (RATE / 512)
    return reference * (rate / size) / float(_window(rate).sum())
