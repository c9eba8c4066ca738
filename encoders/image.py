"""Any Hugging Face vision backbone: picture -> vector.

Pooling: `pooler` is the model's own pooled output (for CLIP and SigLIP the projected image vector
that their text vectors are compared with), `cls` the class token, `mean` and `max` go over the
patch tokens or the feature map, class and register tokens left out. Default: `pooler` for
convolutional networks and two-tower models, else `cls`, else (Swin, which has no class token)
`pooler`.

Preprocessing is the model's own, by transformers' PIL processor, in two steps: geometry here gives
uint8, a quarter of the memory while the picture waits for its batch; scaling and normalisation
follow in `tensors`. A processor whose steps can't be parted so is run whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from encoders import backbone, batching, checkpoint, pooling
from encoders.base import Identity
from encoders.media.errors import MediaError, Reason
from encoders.media.types import Image

# Pictures per model batch. On a CPU larger ones fall out of the cache: MobileNetV2 loses a tenth
# at 16 and a third at 32.
ROWS = {"cpu": 8, "cuda": 64}
_LONGEST = 100  # sides further apart make a resize by the short side explode
_GEOMETRY = {"do_rescale": False, "do_normalize": False}
_SCALING = {
    "do_resize": False,
    "do_center_crop": False,
    "do_convert_rgb": False,
    "input_data_format": "channels_first",
}


class TransformersImage:
    """Pictures -> (B, D) by the backbone in `options.model`."""

    @dataclass(frozen=True)
    class Options:
        """model: a hub id or a local folder; revision: branch, tag or commit, for a hub id;
        pooling: cls | mean | max | pooler, by default what suits the model."""

        model: str = field(metadata={"location": True})
        revision: str | None = None
        pooling: str | None = None

        def __post_init__(self) -> None:
            pooling.check(self.pooling)

    def __init__(self, options: Options, *, precision: str = "fp32", device: str = "cpu") -> None:
        folder = checkpoint.locate(options.model, options.revision)
        self._processor = Processor(folder)
        shape = self._processor.shape
        outline = _outline(folder, shape)
        how = outline.choose(options.pooling)
        self.identity = _identity(folder, outline, how)
        self.dim = self.identity.dim
        self.module = backbone.build(
            folder, "image", outline, pooling=how, precision=precision, device=device
        )
        self._device = device

    @classmethod
    def identify(cls, options: Options) -> Identity:
        """What vectors of these options are comparable with; loads no weights into a model."""
        folder = checkpoint.locate(options.model, options.revision)
        outline = _outline(folder, Processor(folder).shape)
        return _identity(folder, outline, outline.choose(options.pooling))

    def prepare(self, items: Sequence[Image]) -> list[np.ndarray]:
        """-> (3, H, W) arrays of one shape: resized and cropped as the model wants them.

        Raises:
            MediaError: UNSUPPORTED, a picture too long and thin to be resized.
        """
        return [self._processor.geometry(item.pixels) for item in items]

    def cost(self, item: np.ndarray) -> int:
        """Pixels that the model reads."""
        return int(item.shape[-1] * item.shape[-2])

    def tensors(self, batch: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Prepared pictures -> {"pixel_values": (B, 3, H, W)}, what `module` takes."""
        pixels = self._processor.scale(batch)
        return {"pixel_values": torch.from_numpy(pixels).to(self._device)}

    @torch.inference_mode()
    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, D) float32; a zero row for None."""
        vectors = np.zeros((len(batch), self.dim), np.float32)
        blank = np.zeros(self._processor.shape, np.uint8)
        for part in batching.micro_batches(len(batch), ROWS[torch.device(self._device).type]):
            items = list(batch[part.start : part.stop])
            kept = [place for place, item in enumerate(items) if item is not None]
            if not kept:
                continue
            filled = [blank if item is None else item for item in items]
            filled += [blank] * (part.rows - len(items))
            output = self.module(**self.tensors(filled)).cpu().numpy()
            vectors[part.start + np.array(kept)] = output[kept]
        return vectors


class Processor:
    """The preprocessing in a model's folder: pictures of any size -> one (3, H, W) `shape`.

    Raises:
        ValueError: the folder has none, or it keeps the picture's proportions.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoImageProcessor

        with checkpoint.quiet():
            try:
                self._whole: Any = partial(
                    AutoImageProcessor.from_pretrained(
                        folder, backend="pil", local_files_only=True, trust_remote_code=False
                    ),
                    return_tensors="np",
                )
            except Exception as err:  # transformers raises many types for a bad folder
                raise ValueError(
                    f"model {folder.name}: no usable preprocessor_config.json; it says how "
                    "pictures are resized and normalised and comes with the model"
                ) from err
        wide = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        expected = self._run(wide)
        if self._run(wide.transpose(1, 0, 2)).shape != expected.shape:
            raise ValueError(
                f"model {folder.name}: its preprocessing gives pictures of different sizes; "
                "set a crop_size or a fixed size in preprocessor_config.json"
            )
        self.shape: tuple[int, ...] = expected.shape
        parted = self._whole(images=[self._run(wide, **_GEOMETRY)], **_SCALING)["pixel_values"][0]
        self._parted = np.array_equal(parted, expected)

    def geometry(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (3, h, w), uint8 where scaling is left to `scale`."""
        height, width = pixels.shape[:2]
        if max(height, width) > _LONGEST * min(height, width):
            raise MediaError(
                Reason.UNSUPPORTED,
                f"a picture of {width} x {height}: one side is over {_LONGEST} times the other",
            )
        return self._run(pixels, **(_GEOMETRY if self._parted else {}))

    def scale(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(3, H, W) arrays from `geometry` -> (B, 3, H, W) float32."""
        if self._parted:
            pictures = self._whole(images=list(pictures), **_SCALING)["pixel_values"]
        return np.ascontiguousarray(np.stack(pictures), np.float32)

    def _run(self, pixels: np.ndarray, **how: Any) -> np.ndarray:
        picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
        return np.ascontiguousarray(self._whole(images=[picture], **how)["pixel_values"][0])


def _outline(folder: Path, shape: tuple[int, ...]) -> backbone.Outline:
    inputs = {"pixel_values": torch.zeros(1, *shape)}
    return backbone.outline(backbone.read_config(folder), "image", inputs)


def _identity(folder: Path, outline: backbone.Outline, how: str) -> Identity:
    preprocessing = checkpoint.settings(folder, "processor_config.json", "preprocessor_config.json")
    return backbone.identity(folder, "image", outline, pooling=how, preprocessing=preprocessing)
