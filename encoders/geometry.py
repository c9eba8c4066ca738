"""A model's resize and crop in torch, on bytes: several times faster than by Pillow.

torch has Pillow's antialiased filters for uint8, with a vector kernel for pictures whose channels
come last. Its results differ from Pillow's by one level in a few thousandths of the values, and in
more of them where Pillow, to save work, resizes vertically first: torch never does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_SQUASHED = 384  # the shorter side from which ConvNeXT crops no more


@dataclass(frozen=True)
class Geometry:
    """Any picture -> one shape: resize, then crop about the centre.

    resize: the shorter side (proportions stay), or (height, width); crop: (height, width), no more
    than resizing gives; mode: bilinear | bicubic.
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    mode: str

    @classmethod
    def of(cls, processor: Any) -> "Geometry | None":
        """That of a transformers processor, as far as its attributes tell; None for another kind."""
        mode, size = _FILTERS.get(processor.resample), processor.size
        if not processor.do_resize or mode is None or size is None or size.longest_edge:
            return None
        edge, share = size.shortest_edge, getattr(processor, "crop_pct", None)
        resize: int | tuple[int, int] | None = edge or _pair(size)
        crop = _pair(processor.crop_size) if processor.do_center_crop else None
        if edge and share:  # ConvNeXT's own rule
            crop = edge, edge
            resize = crop if edge >= _SQUASHED else int(edge / share)
        crop = crop or (resize if isinstance(resize, tuple) else None)
        return cls(resize, crop, mode) if resize and crop else None

    @property
    def side(self) -> int:
        """The longest that the shorter side of a picture becomes."""
        return max(self.resize) if isinstance(self.resize, tuple) else self.resize

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (3, h, w) uint8, laid out with the channels last in memory."""
        picture = _batch(pixels)
        size = self._resized(*pixels.shape[:2])
        if size != pixels.shape[:2]:
            picture = functional.interpolate(picture, size=size, mode=self.mode, antialias=True)
        top, left = ((have - want) // 2 for have, want in zip(size, self.crop, strict=True))
        part = picture[0, :, top : top + self.crop[0], left : left + self.crop[1]]
        return np.ascontiguousarray(part.permute(1, 2, 0).numpy()).transpose(2, 0, 1)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.resize, tuple):
            return self.resize
        longer = int(self.resize * max(height, width) / min(height, width))
        return (longer, self.resize) if width <= height else (self.resize, longer)


def _batch(pixels: np.ndarray) -> torch.Tensor:
    """(H, W, 3) -> (1, 3, H, W), the same memory.

    In this order: where the channels are moved before the batch is put ahead of them, torch takes the
    strides for those of planes, computes plane by plane and gives planes.
    """
    return torch.from_numpy(pixels).unsqueeze(0).permute(0, 3, 1, 2)


def _pair(size: Any) -> tuple[int, int] | None:
    return (size.height, size.width) if size and size.height and size.width else None
