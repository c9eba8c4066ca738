"""Bytes of a picture -> (H, W, 3) uint8, upright, on white.

Pillow reads it, with an explicit list of formats: EPS (which starts Ghostscript), WMF, FITS and
other rarely wanted readers stay closed. What is decided here, and where Pillow decides:

- the first frame of an animation, the merged picture of a PSD, the largest of an ICO;
- EXIF orientation is applied; an unreadable EXIF block is no orientation, not an error;
- transparency is composited on white;
- an embedded ICC profile is left alone: pixels are taken as sRGB (LAB is converted, by littlecms);
- deep samples are scaled to 8 bits, never clipped: see `_grey8`;
- a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, where that is as much as is asked for.

`limits.pixels` is checked from the header, before anything is decoded. Pillow's own cap stays as a
second wall, for pictures inside pictures: it refuses above twice Image.MAX_IMAGE_PIXELS
(178,956,970). That number is one for the whole process, so a higher `limits.pixels` raises it for
everything in the process that uses Pillow; it is never lowered again.
"""

import io
import re
import struct
import threading
from typing import Any

import numpy as np
from PIL import Image as pillow
from PIL import UnidentifiedImageError

from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from encoders.media.sniff import unreadable
from encoders.media.types import Image

# Tried in this order; TGA last, because it has no mark of its own. MPO opens as JPEG.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000"),
    *("ICO", "PSD", "QOI", "PPM", "TGA"),
)
_BAND = 2**20  # bytes; stays in the cache
_WALL = threading.Lock()  # on Pillow's cap
_EXPECTED = "a picture: " + ", ".join(FORMATS)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: pillow.Transpose.FLIP_LEFT_RIGHT,
    3: pillow.Transpose.ROTATE_180,
    4: pillow.Transpose.FLIP_TOP_BOTTOM,
    5: pillow.Transpose.TRANSPOSE,
    6: pillow.Transpose.ROTATE_270,
    7: pillow.Transpose.TRANSVERSE,
    8: pillow.Transpose.ROTATE_90,
}


def decode_image(raw: bytes, limits: Limits, least_side: int | None = None) -> Image:
    """Decode one picture.

    Args:
        raw: the encoded file.
        limits: `pixels` is held against the picture's own size.
        least_side: what no side needs to be longer than; None wants the picture at its own size.

    Raises:
        MediaError: BOMB, UNSUPPORTED, BAD_FORMAT or DECODE_ERROR. Other exceptions of Pillow pass
            through; `encoders.media.decode` turns them into DECODE_ERROR.
    """
    _raise_wall(limits.pixels)
    _check_icon(raw, limits)
    try:
        with pillow.open(io.BytesIO(raw), formats=FORMATS) as picture:
            _check_size(picture.width, picture.height, limits)
            if least_side is not None:
                picture.draft(None, (least_side, least_side))
            picture.load()
            return Image(_pixels(_upright(_rgb8(picture), picture)))
    except UnidentifiedImageError as err:
        raise unreadable(raw, "picture", _EXPECTED) from err
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as err:
        raise _refused_by_wall(raw, limits) from err


def _raise_wall(pixels: int) -> None:
    """Let Pillow open pictures of so many pixels, in every thread."""
    with _WALL:
        if pillow.MAX_IMAGE_PIXELS is not None and pillow.MAX_IMAGE_PIXELS < pixels:
            pillow.MAX_IMAGE_PIXELS = pixels


def _refused_by_wall(raw: bytes, limits: Limits) -> MediaError:
    """Pillow's refusal in the words of ours. It doesn't tell the size; its plugin does."""
    for form in FORMATS:
        plugin, accept = pillow.OPEN[form]
        if accept is None or accept(raw[:16]) is True:
            try:
                with plugin(io.BytesIO(raw), b"") as picture:
                    return _bomb(picture.width, picture.height, limits)
            except Exception:  # the plugin itself refuses: it holds a larger picture inside
                break
    return MediaError(
        Reason.BOMB,
        f"a picture inside it is larger than limits.pixels, {limits.pixels}: "
        "raise it if you trust this source",
    )


def _check_icon(raw: bytes, limits: Limits) -> None:
    """Refuse an ICO for the PNGs inside it: Pillow decodes the largest while opening the file."""
    if not raw.startswith(b"\0\0\1\0"):
        return
    for png in re.finditer(rb"\x89PNG\r\n\x1a\n....IHDR(........)", raw, re.DOTALL):
        width, height = struct.unpack(">II", png[1])
        _check_size(width, height, limits)


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise _bomb(width, height, limits)
    if width * height == 0:
        raise MediaError(Reason.DECODE_ERROR, f"a picture of {width} x {height} pixels")


def _bomb(width: int, height: int, limits: Limits) -> MediaError:
    return MediaError(
        Reason.BOMB,
        f"{width} x {height} = {width * height} pixels; limits.pixels is {limits.pixels}: "
        "raise it if you trust this source",
    )


def _pixels(rgb: pillow.Image) -> np.ndarray:
    """(H, W, 3) uint8, a copy.

    A large picture is taken in bands: Pillow gives pixels as `bytes`, pieced together, and each copy
    of all of it costs more in fresh memory than its JPEG costs in decoding. For one that is a single
    band, cropping first would be a copy more.
    """
    width, height = rgb.size
    rows = max(1, _BAND // (3 * width))
    if rows >= height:
        return np.array(rgb)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = np.asarray(rgb.crop((0, top, width, bottom)))
    return pixels


def _rgb8(picture: pillow.Image) -> pillow.Image:
    """Any mode -> RGB, 8 bits, transparency on white."""
    if picture.mode.startswith(("I", "F")):
        return pillow.fromarray(_grey8(picture)).convert("RGB")
    if picture.has_transparency_data and picture.mode != "LAB":
        picture = picture.convert("RGBA")
        canvas = pillow.new("RGB", picture.size, "white")
        canvas.paste(picture, mask=picture.getchannel("A"))
        return canvas
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _grey8(picture: pillow.Image) -> np.ndarray:
    """Deep grey samples -> (H, W) uint8.

    Unsigned samples of n bits: v * 255 / (2^n - 1), so 16 bits are v / 257. Pillow gives 32-bit
    integers and floats without their nominal range, so the values decide: integers within
    0..65535 are 16-bit; floats within 0..1 are fractions, within 0..255 are levels; anything else
    is stretched from its own minimum and maximum. Values that are not finite are black.
    """
    values = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        return _scaled(values, 0.0, 2.0 ** _bits(picture) - 1.0)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    for nominal in (65535.0,) if picture.mode == "I" else (1.0, 255.0):
        if low >= 0.0 and high <= nominal:
            return _scaled(values, 0.0, nominal)
    return _scaled(values, low, high)


def _bits(picture: pillow.Image) -> int:
    """Bits per sample of a 16-bit mode; only TIFF leaves 12-bit samples unscaled."""
    tags: Any = getattr(picture, "tag_v2", {})
    return 12 if tags.get(258) == (12,) else 16


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Linear map of low..high to 0..255, rounded; not finite -> 0."""
    span = (high - low) or 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        levels = np.rint((values.astype(np.float64) - low) * (255.0 / span))
    return np.nan_to_num(levels, nan=0.0, posinf=0.0, neginf=0.0).clip(0, 255).astype(np.uint8)


def _upright(rgb: pillow.Image, source: pillow.Image) -> pillow.Image:
    """Apply the EXIF orientation, read after `load` (Pillow turns TIFF itself while loading)."""
    try:
        orientation = source.getexif().get(_ORIENTATION_TAG)
    except Exception:  # a broken EXIF block fails in many ways, and the picture is intact
        return rgb
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return rgb if turn is None else rgb.transpose(turn)
