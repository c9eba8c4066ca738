"""What a vision model does to pictures before it reads them: by its own processor, or faster.

Both ways have two steps. `geometry` gives bytes, a quarter of the memory while a picture waits for
its batch; `scale` turns a batch of them into numbers.

`Reference` is transformers' PIL processor. `Fast` does the same in torch, on bytes as long as it
goes, and tells how small a picture may be decoded. It is taken only where a trial shows that it
agrees with the processor, so a kind of preprocessing that it does not know costs speed alone.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from encoders import checkpoint
from encoders.geometry import Geometry
from encoders.transfer import to_device

RESIZES = ("fast", "reference")
# Pictures decoded at no less than twice the side that is wanted: the resize then averages the rest
# as it would have averaged the whole (about 50 dB against full decoding, 1 would give 40).
_REDUNDANCY = 2
# By how many of 255 levels the two ways may differ in a trial, on average: another filter or another
# crop gives ten times that. Single values differ more where Pillow resizes vertically first.
_LEVELS = 1.0
_GEOMETRY = {"do_rescale": False, "do_normalize": False}
_SCALING = {
    "do_resize": False,
    "do_center_crop": False,
    "do_convert_rgb": False,
    "input_data_format": "channels_first",
}


class Reference:
    """The processor in a model's folder: pictures of any size -> one (3, H, W) `shape`.

    Raises:
        ValueError: the folder has none, or it keeps the picture's proportions.
    """

    name = "reference"
    least_side: int | None = None  # a picture decoded smaller would give other numbers

    def __init__(self, folder: Path) -> None:
        from transformers import AutoImageProcessor

        with checkpoint.quiet():
            try:
                self.processor: Any = AutoImageProcessor.from_pretrained(
                    folder, backend="pil", local_files_only=True, trust_remote_code=False
                )
                self._whole = partial(self.processor, return_tensors="np")
            except Exception as err:  # transformers raises many types for a bad folder
                raise ValueError(
                    f"model {folder.name}: no usable preprocessor_config.json; it says how "
                    "pictures are resized and normalised and comes with the model"
                ) from err
        wide = _noise(48, 64)
        expected = self._run(wide)
        if self._run(wide.transpose(1, 0, 2)).shape != expected.shape:
            raise ValueError(
                f"model {folder.name}: its preprocessing gives pictures of different sizes; "
                "set a crop_size or a fixed size in preprocessor_config.json"
            )
        self.shape: tuple[int, ...] = expected.shape
        parted = self._whole(images=[self._run(wide, **_GEOMETRY)], **_SCALING)["pixel_values"][0]
        self.parted = np.array_equal(parted, expected)

    def geometry(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (3, h, w), uint8 where scaling is left to `scale`."""
        return self._run(pixels, **(_GEOMETRY if self.parted else {}))

    def scale(self, pictures: Sequence[np.ndarray], device: str = "cpu") -> torch.Tensor:
        """(3, H, W) arrays from `geometry` -> (B, 3, H, W) float32."""
        if self.parted:
            pictures = self._whole(images=list(pictures), **_SCALING)["pixel_values"]
        numbers = torch.from_numpy(np.ascontiguousarray(np.stack(pictures), np.float32))
        return to_device(numbers, device)

    def _run(self, pixels: np.ndarray, **how: Any) -> np.ndarray:
        picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
        return np.ascontiguousarray(self._whole(images=[picture], **how)["pixel_values"][0])


class Fast:
    """A model's preprocessing in torch: the same `shape`, the same numbers but for rounding."""

    name = "fast"

    def __init__(self, geometry: Geometry, processor: Any) -> None:
        self.geometry = geometry
        self.shape = (3, *geometry.crop)
        self.least_side: int | None = _REDUNDANCY * geometry.side
        factor = processor.rescale_factor if processor.do_rescale else 1.0
        mean, std = (
            (processor.image_mean, processor.image_std) if processor.do_normalize else (0, 1)
        )
        self._factor = self._per_row(factor / np.asarray(std, np.float64))
        self._offset = self._per_row(-np.asarray(mean, np.float64) / std)

    def scale(self, pictures: Sequence[np.ndarray], device: str = "cpu") -> torch.Tensor:
        """(3, H, W) uint8 from `geometry` -> (B, 3, H, W) float32, (x * factor - mean) / std.

        In memory the channels come last, and so a whole row of pixels is scaled at once: three numbers
        a pixel at a time take six times as long.
        """
        stacked = np.stack([picture.transpose(1, 2, 0) for picture in pictures])
        rows = to_device(torch.from_numpy(stacked), device).flatten(2).float()
        rows.mul_(to_device(self._factor, device)).add_(to_device(self._offset, device))
        return rows.unflatten(2, (-1, 3)).permute(0, 3, 1, 2)

    def _per_row(self, values: np.ndarray) -> torch.Tensor:
        """One value, or one a channel -> (W * 3,) float32, for a row of pixels."""
        channels = np.broadcast_to(values, 3).astype(np.float32)
        return torch.from_numpy(np.tile(channels, self.shape[2]))

    def agrees(self, reference: Reference) -> bool:
        """Whether pictures to enlarge and to shrink come out as by the model's own processor."""
        height, width = self.shape[1:]
        for noise in (_noise(48, 64), _noise(64, 48), _noise(2 * height + 5, 3 * width + 1)):
            expected, found = reference.geometry(noise), self.geometry(noise)
            if expected.shape != found.shape or expected.dtype != found.dtype:
                return False
            if np.abs(expected.astype(int) - found).mean() > _LEVELS:
                return False
        return torch.allclose(reference.scale([expected]), self.scale([expected]), atol=1e-4)


def load(folder: Path, resize: str) -> Reference | Fast:
    """The preprocessing of the model in `folder`; raises as `Reference`.

    Args:
        resize: reference, or fast, which gives `Reference` too where `Fast` can't stand in for it.
    """
    reference = Reference(folder)
    if resize == "reference" or not reference.parted:
        return reference
    geometry = Geometry.of(reference.processor)
    if geometry is None or geometry.crop != reference.shape[1:]:
        return reference
    fast = Fast(geometry, reference.processor)
    return fast if fast.agrees(reference) else reference


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
