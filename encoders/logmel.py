"""The log-mel spectrogram itself, flattened: raw input for models that learn from it. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders import mel
from encoders.base import Identity
from encoders.media.types import Waveform

_OFFSET = 0.01


@dataclass(frozen=True)
class LogmelOptions:
    """frames: how many frames of 10 ms are kept from the start of the sound; a shorter sound ends
    in silence."""

    frames: int = mel.EXAMPLE_FRAMES

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"logmel: expected at least one frame, got {self.frames}")


class Logmel:
    """Sound -> (frames * 64,), one frame after the other; reshape to (frames, 64).

    Values are ln(1 + mel / 0.01): zero is silence, a loud band reaches about 8.
    """

    Options = LogmelOptions

    @classmethod
    def identify(cls, options: LogmelOptions) -> Identity:
        """Length and front end."""
        settings = {"frames": options.frames, "version": 1}
        return Identity("logmel", options.frames * mel.BANDS, "", settings)

    def __init__(
        self, options: LogmelOptions, *, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.identity = self.identify(options)
        self.dim = self.identity.dim
        self._frames = options.frames

    def prepare(self, items: Sequence[Waveform]) -> list[np.ndarray]:
        """Log-mel levels above the floor, (frames, 64) float32.

        Raises:
            MediaError: EMPTY, NON_FINITE, or UNSUPPORTED for a rate no recording has.
        """
        return [self._fitted(mel.levels(item, offset=_OFFSET)) for item in items]

    def cost(self, item: np.ndarray) -> int:
        """Frames."""
        return len(item)

    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, frames * 64) float32."""
        vectors = np.zeros((len(batch), self.dim), np.float32)
        for row, levels in zip(vectors, batch, strict=True):
            if levels is not None:
                row[:] = levels.ravel()
        return vectors

    def _fitted(self, levels: np.ndarray) -> np.ndarray:
        kept = levels[: self._frames]
        return np.pad(kept, ((0, self._frames - len(kept)), (0, 0)))
