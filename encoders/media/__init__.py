"""Bytes -> decoded media, under limits. Pillow, PyAV and numpy only: decoders stay small."""

import re

from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from encoders.media.types import FramePolicy, Image, Video, Waveform

__all__ = [
    "FramePolicy",
    "Image",
    "Limits",
    "MediaError",
    "Reason",
    "Video",
    "Waveform",
    "decode",
]

KINDS = ("image", "audio", "video")


def decode(
    raw: bytes,
    kind: str,
    limits: Limits,
    *,
    frames: FramePolicy | None = None,
    sound: bool = True,
    least_side: int | None = None,
) -> Image | Waveform | Video:
    """Decode one medium from memory; nothing else is ever opened.

    Args:
        raw: the encoded file.
        kind: image | audio | video.
        limits: caps, checked before and during the work. `item_timeout` is the caller's to enforce.
        frames: video only: which pictures; None wants none.
        sound: video only: whether the sound track is wanted.
        least_side: pictures and frames may come smaller than they are, where that is cheaper, but
            with no side shorter than this; None wants every pixel. `limits` are about what the file
            holds, whatever comes out.

    Raises:
        MediaError: whatever is wrong with the bytes; they cause no other exception.
        ValueError: an unknown kind, or a policy that asks for nothing.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of medium {kind!r}; known: {', '.join(KINDS)}")
    if frames is not None and not (frames.every > 0 and frames.max >= 1):
        raise ValueError(f"frames need every > 0 and max >= 1, got {frames}")
    if not raw:
        raise MediaError(Reason.EMPTY, f"{kind}: no bytes")
    if len(raw) > limits.bytes:
        raise MediaError(
            Reason.TOO_LARGE, f"{kind}: {len(raw)} bytes; limits.bytes is {limits.bytes}"
        )
    try:
        return _decode(raw, kind, limits, frames, sound, least_side)
    except MediaError:
        raise
    except MemoryError as err:
        raise MediaError(Reason.OOM, f"{kind}: not enough memory to decode it") from err
    except Exception as err:  # the libraries raise anything for broken bytes
        raise MediaError(Reason.DECODE_ERROR, f"{kind}: {_describe(err)}") from err


def _decode(
    raw: bytes,
    kind: str,
    limits: Limits,
    frames: FramePolicy | None,
    sound: bool,
    least_side: int | None,
) -> Image | Waveform | Video:
    # Imported when needed: Pillow and FFmpeg cost 50 ms and 30 MB each, and a process may need one.
    if kind == "image":
        from encoders.media.image import decode_image

        return decode_image(raw, limits, least_side)
    if kind == "audio":
        from encoders.media.audio import decode_audio

        return decode_audio(raw, limits)
    from encoders.media.video import decode_video

    return decode_video(raw, limits, frames, sound=sound)


def _describe(err: Exception) -> str:
    """The library's words, without addresses: the same bytes give the same message."""
    text = getattr(err, "strerror", None) or str(err) or type(err).__name__
    text = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "the file", text)
    return re.sub(r"\s+", " ", text)[:300]
