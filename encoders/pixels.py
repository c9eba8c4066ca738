"""The picture itself, resized: for models that learn from raw pixels, and as a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image

from encoders.base import Identity
from encoders.media.types import Image


class Pixels:
    """Pictures -> (B, 3 * size * size) in [0, 1]: the red plane row by row, then green, then blue.

    Resized by Pillow's bilinear filter, which averages when it shrinks; proportions are not kept.
    """

    @dataclass(frozen=True)
    class Options:
        """size: side of the square that every picture is stretched to, in pixels."""

        size: int = 32

        def __post_init__(self) -> None:
            if not 1 <= self.size <= 256:
                raise ValueError(f"expected a size of 1 to 256 pixels, got {self.size}")

    def __init__(self, options: Options, *, precision: str = "fp32", device: str = "cpu") -> None:
        self._size = options.size
        self.identity = self.identify(options)
        self.dim = self.identity.dim

    @classmethod
    def identify(cls, options: Options) -> Identity:
        """What vectors of these options are comparable with."""
        settings = {"size": options.size, "resize": "bilinear"}
        return Identity("pixels", 3 * options.size**2, weights="", settings=settings)

    def prepare(self, items: Sequence[Image]) -> list[np.ndarray]:
        """-> (3, size, size) uint8."""
        return [self._resize(item.pixels) for item in items]

    def _resize(self, pixels: np.ndarray) -> np.ndarray:
        picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
        small = picture.resize((self._size, self._size), PIL.Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))

    def cost(self, item: np.ndarray) -> int:
        """Pixels."""
        return self._size**2

    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, D) float32; a zero row for None."""
        vectors = np.zeros((len(batch), self.dim), np.float32)
        kept = [place for place, item in enumerate(batch) if item is not None]
        if kept:
            pixels = np.stack([item for item in batch if item is not None])
            vectors[kept] = pixels.reshape(len(kept), -1) / np.float32(255)
        return vectors
