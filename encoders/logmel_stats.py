"""A classical sound descriptor: level, spread and movement of log-mel bands. No torch.

Per band the mean level above the floor, its standard deviation, and the mean change from frame to
frame; then the mean change over 10 ms to 0.64 s in 16 groups of bands, which tells steady sounds
from rhythmic and sudden ones. Square roots of all, so that the loud bands don't decide alone. It
says what a sound is like, not what it is: the baseline that a learned encoder must beat.

Letters in shapes: F frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders import mel
from encoders.base import Identity
from encoders.media.types import Waveform

_OFFSET = 0.01
_LAGS = (1, 2, 4, 8, 16, 32, 64)  # frames of 10 ms
_GROUPS = 16

DIM = 3 * mel.BANDS + len(_LAGS) * _GROUPS  # 304


@dataclass(frozen=True)
class LogmelStatsOptions:
    """`logmel-stats` has no options."""


class LogmelStats:
    """Sound -> (304,). Digital silence gives the zero vector."""

    Options = LogmelStatsOptions

    @classmethod
    def identify(cls, options: LogmelStatsOptions) -> Identity:
        """The descriptor's version and length."""
        return Identity("logmel-stats", DIM, "", {"version": 1})

    def __init__(
        self, options: LogmelStatsOptions, *, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.identity = self.identify(options)
        self.dim = DIM

    def prepare(self, items: Sequence[Waveform]) -> list[np.ndarray]:
        """Log-mel levels above the floor, (F, 64) float32 >= 0, F >= 1.

        Raises:
            MediaError: EMPTY, NON_FINITE, or UNSUPPORTED for a rate no recording has.
        """
        return [mel.levels(item, offset=_OFFSET) for item in items]

    def cost(self, item: np.ndarray) -> int:
        """Frames."""
        return len(item)

    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, 304) float32."""
        vectors = np.zeros((len(batch), DIM), np.float32)
        for row, levels in zip(vectors, batch, strict=True):
            if levels is not None:
                row[:] = _describe(levels)
        return vectors


def _describe(levels: np.ndarray) -> np.ndarray:
    groups = levels.reshape(len(levels), _GROUPS, -1).mean(axis=2)
    movement = [_change(groups, lag) for lag in _LAGS]
    parts = [levels.mean(axis=0), levels.std(axis=0), _change(levels, 1), *movement]
    return np.sqrt(np.concatenate(parts))


def _change(levels: np.ndarray, lag: int) -> np.ndarray:
    """The mean absolute difference of frames `lag` apart; zero where the sound is too short."""
    if len(levels) <= lag:
        return np.zeros(levels.shape[1], levels.dtype)
    return np.abs(levels[lag:] - levels[:-lag]).mean(axis=0)
