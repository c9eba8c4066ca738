"""Any Hugging Face vision backbone: picture -> vector.

Pooling: `pooler` is the model's own pooled output (for CLIP and SigLIP the projected image vector
that their text vectors are compared with), `cls` the class token, `mean` and `max` go over the
patch tokens or the feature map, class and register tokens left out. Default: `pooler` for
convolutional networks and two-tower models, else `cls`, else (Swin, which has no class token)
`pooler`.

Preprocessing is the model's own (`preprocessing`): by default resized in torch, from a picture that
was decoded no larger than it takes; with `resize: reference` by transformers' PIL processor. Either
way geometry comes in `prepare`, scaling and normalisation in `tensors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from encoders import backbone, batching, checkpoint, pooling, preprocessing
from encoders.base import Identity
from encoders.media.errors import MediaError, Reason
from encoders.media.types import Image
from encoders.preprocessing import Fast, Reference

# Pictures per model batch. On a CPU larger ones fall out of the cache: MobileNetV2 loses a tenth
# at 16 and a third at 32.
ROWS = {"cpu": 8, "cuda": 64}
_LONGEST = 100  # sides further apart make a resize by the short side explode


class TransformersImage:
    """Pictures -> (B, D) by the backbone in `options.model`."""

    batch = 1

    @dataclass(frozen=True)
    class Options:
        """model: a hub id or a local folder; revision: branch, tag or commit, for a hub id;
        pooling: cls | mean | max | pooler, by default what suits the model; resize: fast |
        reference, fast where it agrees with the model's own processor."""

        model: str = field(metadata={"location": True})
        revision: str | None = None
        pooling: str | None = None
        resize: str = "fast"

        def __post_init__(self) -> None:
            pooling.check(self.pooling)
            if self.resize not in preprocessing.RESIZES:
                known = " | ".join(preprocessing.RESIZES)
                raise ValueError(f"expected resize {known}, got {self.resize!r}")

    def __init__(self, options: Options, *, precision: str = "fp32", device: str = "cpu") -> None:
        folder = checkpoint.locate(options.model, options.revision)
        self._pictures = preprocessing.load(folder, options.resize)
        outline = _outline(folder, self._pictures.shape)
        how = outline.choose(options.pooling)
        self.identity = _identity(folder, outline, how, self._pictures)
        self.dim = self.identity.dim
        self.module = backbone.build(
            folder, "image", outline, pooling=how, precision=precision, device=device
        )
        self._device = device

    @classmethod
    def identify(cls, options: Options) -> Identity:
        """What vectors of these options are comparable with; loads no weights into a model."""
        folder = checkpoint.locate(options.model, options.revision)
        pictures = preprocessing.load(folder, options.resize)
        outline = _outline(folder, pictures.shape)
        return _identity(folder, outline, outline.choose(options.pooling), pictures)

    def prepare(self, items: Sequence[Image]) -> list[np.ndarray]:
        """-> (3, H, W) arrays of one shape: resized and cropped as the model wants them.

        Raises:
            MediaError: UNSUPPORTED, a picture too long and thin to be resized.
        """
        return [self._resized(item.pixels) for item in items]

    def _resized(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        if max(height, width) > _LONGEST * min(height, width):
            raise MediaError(
                Reason.UNSUPPORTED,
                f"a picture of {width} x {height}: one side is over {_LONGEST} times the other",
            )
        return self._pictures.geometry(pixels)

    def cost(self, item: np.ndarray) -> int:
        """Pixels that the model reads."""
        return int(item.shape[-1] * item.shape[-2])

    def tensors(self, batch: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Prepared pictures -> {"pixel_values": (B, 3, H, W)}, what `module` takes."""
        return {"pixel_values": self._pictures.scale(batch, self._device)}

    @torch.inference_mode()
    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, D) float32; a zero row for None."""
        vectors = np.zeros((len(batch), self.dim), np.float32)
        blank = np.zeros(self._pictures.shape, np.uint8)
        computed = []  # on a GPU all of them are on their way before the first is waited for
        rows = self.batch * ROWS[torch.device(self._device).type]
        for part in batching.micro_batches(len(batch), rows):
            items = list(batch[part.start : part.stop])
            kept = [place for place, item in enumerate(items) if item is not None]
            if not kept:
                continue
            filled = [blank if item is None else item for item in items]
            filled += [blank] * (part.rows - len(items))
            computed.append((part.start, kept, self.module(**self.tensors(filled))))
        for start, kept, output in computed:
            vectors[start + np.array(kept)] = output.cpu().numpy()[kept]
        return vectors


def _outline(folder: Path, shape: tuple[int, ...]) -> backbone.Outline:
    inputs = {"pixel_values": torch.zeros(1, *shape)}
    return backbone.outline(backbone.read_config(folder), "image", inputs)


def _identity(
    folder: Path, outline: backbone.Outline, how: str, pictures: Reference | Fast
) -> Identity:
    return backbone.identity(
        folder,
        "image",
        outline,
        pooling=how,
        preprocessing=checkpoint.settings(
            folder, "processor_config.json", "preprocessor_config.json"
        ),
        resize=pictures.name,
        least_side=pictures.least_side,
    )
