"""What every program does with a picture: polyfuse's descriptor, decoded by Pillow."""

import io
from pathlib import Path

import numpy as np
import PIL.Image

from encoders.hog_colour import HogColour, HogColourOptions
from encoders.media.types import Image

_ENCODER = HogColour(HogColourOptions())


def describe(path: str) -> list[float]:
    """A file -> (648,) float32 as a list. Raises whatever Pillow does."""
    with PIL.Image.open(io.BytesIO(Path(path).read_bytes())) as picture:
        image = Image(np.asarray(picture.convert("RGB")))
    return _ENCODER.encode(_ENCODER.prepare([image]))[0].tolist()
