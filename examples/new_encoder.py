"""A new encoder, whole: the mean colour of a picture.

    python examples/new_encoder.py

In the project this class is `encoders/mean_colour.py`, and one line in `encoders/__init__.py` makes
it known to configurations, workers, search and the contract tests:

    "mean-colour": Entry({"image": "encoders.mean_colour:MeanColour"}, "the mean colour"),
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders.base import Identity
from encoders.media import Image


class MeanColour:
    """(H, W, 3) pixels -> their mean red, green and blue, from 0 to 1."""

    @dataclass(frozen=True)
    class Options:
        """gamma: exponent applied to each pixel before the mean."""

        gamma: float = 1.0

    dim = 3

    def __init__(self, options: Options, *, precision: str = "fp32", device: str = "cpu") -> None:
        self.options = options
        self.identity = self.identify(options)

    @classmethod
    def identify(cls, options: Options) -> Identity:
        """Everything that changes the vector."""
        return Identity("mean-colour", cls.dim, weights="", settings={"gamma": options.gamma})

    def prepare(self, items: Sequence[Image]) -> list[np.ndarray]:
        """Pictures of any size -> their means."""
        return [((image.pixels / 255) ** self.options.gamma).mean(axis=(0, 1)) for image in items]

    def cost(self, item: np.ndarray) -> int:
        """All items cost the same."""
        return 1

    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, 3); None holds the place of a picture that failed."""
        rows = [np.zeros(self.dim) if item is None else item for item in batch]
        return np.asarray(rows, np.float32).reshape(len(batch), self.dim)


if __name__ == "__main__":
    red = Image(np.tile(np.uint8([255, 0, 0]), (4, 6, 1)))
    encoder = MeanColour(MeanColour.Options(gamma=2.2))
    print(encoder.identity.digest, encoder.encode([*encoder.prepare([red]), None]))
