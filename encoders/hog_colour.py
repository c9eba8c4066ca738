"""A classical picture descriptor: gradient orientations at four scales, coarse colour. No torch.

The shape part follows Dalal and Triggs 2005 ("Histograms of oriented gradients for human
detection"): the strongest gradient over the channels, nine unsigned orientations shared between
neighbouring bins and cells, cells normalised by their surroundings and clipped; four scales of a
4 x 4 grid find more neighbours of the right class than one finer grid. The colour part is one
histogram of brightness and of two opponent colours in each quarter of the picture, as square roots,
so that a dot product compares histograms by Hellinger's affinity.

The baseline that a learned encoder must beat. Letters in shapes: B pictures, S the side of a scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import PIL.Image

from encoders.base import Identity
from encoders.media.errors import MediaError, Reason
from encoders.media.types import Image

_SIDES = (128, 64, 32, 16)  # pixels; the picture is squashed to a square
_CELLS, _ORIENTATIONS = 4, 9
_COLOUR_SIDE, _COLOUR_CELLS, _COLOUR_BINS = 32, 2, 6
_COLOUR_WEIGHT = 0.5
_CLIP = 0.2
_FLAT = 1e-2  # gradient energy below which a cell counts as flat; also keeps the division finite

DIM = len(_SIDES) * _CELLS**2 * _ORIENTATIONS + 3 * _COLOUR_CELLS**2 * _COLOUR_BINS  # 648


@dataclass(frozen=True)
class HogColourOptions:
    """`hog-colour` has no options."""


class HogColour:
    """Picture -> 576 values of shape and 72 of colour, (648,), of length 1."""

    Options = HogColourOptions

    @classmethod
    def identify(cls, options: HogColourOptions) -> Identity:
        """The descriptor's version and length."""
        return Identity("hog-colour", DIM, "", {"version": 1})

    def __init__(
        self, options: HogColourOptions, *, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.identity = self.identify(options)
        self.dim = DIM

    def prepare(self, items: Sequence[Image]) -> list[np.ndarray]:
        """Pictures squashed to (128, 128, 3) float32 in [0, 1]."""
        return [_squashed(item.pixels) for item in items]

    def cost(self, item: np.ndarray) -> int:
        """Pixels."""
        return item.shape[0] * item.shape[1]

    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, 648) float32."""
        vectors = np.zeros((len(batch), DIM), np.float32)
        for row, picture in zip(vectors, batch, strict=True):
            if picture is not None:
                row[:] = _describe(picture)
        return vectors


def _squashed(pixels: np.ndarray) -> np.ndarray:
    if pixels.size == 0:
        raise MediaError(Reason.EMPTY, "the picture has no pixels")
    picture = PIL.Image.fromarray(pixels).resize(
        (_SIDES[0], _SIDES[0]), PIL.Image.Resampling.BILINEAR, reducing_gap=2.0
    )
    return np.asarray(picture, np.float32) / 255.0


def _describe(picture: np.ndarray) -> np.ndarray:
    scales = {_SIDES[0]: picture}
    for side in _SIDES[1:]:
        scales[side] = scales[2 * side].reshape(side, 2, side, 2, 3).mean(axis=(1, 3))
    shape = np.concatenate([_unit(_orientations(scales[side])) for side in _SIDES])
    colour = _COLOUR_WEIGHT * _unit(np.sqrt(_colours(scales[_COLOUR_SIDE])))
    return _unit(np.concatenate([_unit(shape), colour]))


def _orientations(picture: np.ndarray) -> np.ndarray:
    """(S, S, 3) -> (4 * 4 * 9,) normalised histograms of gradient orientation."""
    across, down = np.zeros_like(picture), np.zeros_like(picture)
    light = np.sqrt(picture)  # evens out the contrast of light and dark places
    across[:, 1:-1] = light[:, 2:] - light[:, :-2]
    down[1:-1] = light[2:] - light[:-2]
    energy = across**2 + down**2
    strongest = energy.argmax(axis=2)[..., None]
    across, down, energy = (
        np.take_along_axis(values, strongest, axis=2)[..., 0] for values in (across, down, energy)
    )
    angle = np.arctan2(down, across) * (_ORIENTATIONS / np.pi) - 0.5
    lower = np.floor(angle)
    share = angle - lower
    first = lower.astype(np.intp) % _ORIENTATIONS
    magnitude = np.sqrt(energy)
    rows, columns = np.indices(magnitude.shape, sparse=True)
    planes = np.zeros((_ORIENTATIONS, *magnitude.shape), np.float32)
    planes[first, rows, columns] = magnitude * (1 - share)
    planes[(first + 1) % _ORIENTATIONS, rows, columns] = magnitude * share
    cells = _per_cell(planes, _CELLS)
    around = np.pad((cells**2).sum(axis=0), 1)
    block = np.lib.stride_tricks.sliding_window_view(around, (3, 3)).sum(axis=(2, 3))
    return np.minimum(cells / np.sqrt(block + _FLAT), _CLIP).ravel()


def _colours(picture: np.ndarray) -> np.ndarray:
    """(S, S, 3) -> (3 * 6 * 2 * 2,) soft histograms of brightness, red-green and yellow-blue."""
    red, green, blue = np.moveaxis(picture, 2, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    # Most colours are pale: the root spreads them over the bins.
    spread = 0.5 + 0.5 * np.sign(opponents) * np.sqrt(np.abs(opponents))
    channels = np.concatenate([picture.mean(axis=2)[None], spread])
    position = channels[:, None] * (_COLOUR_BINS - 1)
    distance = np.abs(position - np.arange(_COLOUR_BINS)[:, None, None])
    planes = np.maximum(0.0, 1.0 - distance).reshape(-1, *picture.shape[:2])
    return _per_cell(planes.astype(np.float32), _COLOUR_CELLS).ravel()


def _per_cell(planes: np.ndarray, cells: int) -> np.ndarray:
    """(K, S, S) -> (K, cells, cells); a pixel counts for the cells near it, by their distance."""
    shares = _cell_shares(planes.shape[1], cells)
    return shares @ planes @ shares.T


@lru_cache
def _cell_shares(side: int, cells: int) -> np.ndarray:
    """(cells, side): how much a row of pixels counts for a row of cells; every row sums to 1."""
    position = (np.arange(side) + 0.5) * cells / side - 0.5
    shares = np.maximum(0.0, 1.0 - np.abs(position - np.arange(cells)[:, None]))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
