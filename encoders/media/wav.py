"""Plain PCM in RIFF, RF64 or WAVE_FORMAT_EXTENSIBLE, read without FFmpeg: one numpy pass.

Anything unusual (compressed samples, padded containers, no data chunk) is left to PyAV.
"""

import struct

import numpy as np

from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
# The GUIDs of PCM and float are their tag followed by these fourteen bytes.
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
# Writers that cannot seek back leave such a size: the samples go on to the end of the file.
_UNKNOWN_SIZE = 0x7FFFF000


def read_pcm(raw: bytes, limits: Limits) -> tuple[np.ndarray, int] | None:
    """(frames, channels) samples in their own scale divided to [-1, 1], and the rate.

    Returns:
        None when this is not plain PCM.

    Raises:
        MediaError: TOO_LARGE by the header; DECODE_ERROR for a file shorter than it says.
    """
    layout = _layout(raw)
    if layout is None:
        return None
    tag, channels, rate, block, bits, start, size = layout
    kind = _KINDS.get((tag, bits))
    if kind is None or channels == 0 or rate == 0 or block != channels * bits // 8 or size == 0:
        return None
    present = len(raw) - start
    frames = min(size, present) // block
    stated = frames if size >= _UNKNOWN_SIZE else size // block
    if stated > limits.seconds * rate:
        raise MediaError(
            Reason.TOO_LARGE,
            f"a sound of {stated / rate:.1f} s; limits.seconds is {limits.seconds:g}",
        )
    if stated > frames and size - present >= block:  # half a last frame is no loss
        raise MediaError(
            Reason.DECODE_ERROR,
            f"cut off: the header states {size} bytes of samples, {present} follow",
        )
    samples = _samples(memoryview(raw)[start : start + frames * block], kind, bits)
    return samples.reshape(frames, channels), rate


_KINDS = {
    (_PCM, 8): "<u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "packed",
    (_PCM, 32): "<i4",
    (_PCM, 64): "<i8",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}


def _layout(raw: bytes) -> tuple[int, int, int, int, int, int, int] | None:
    """(format tag, channels, rate, block bytes, bits, start of the samples, their bytes)."""
    if raw[:4] not in (b"RIFF", b"RF64") or raw[8:12] != b"WAVE":
        return None
    form: tuple[int, int, int, int, int] | None = None
    long_size = None
    at = 12
    while at + 8 <= len(raw):
        name, size = raw[at : at + 4], int.from_bytes(raw[at + 4 : at + 8], "little")
        body = at + 8
        if name == b"ds64" and body + 16 <= len(raw):
            long_size = int.from_bytes(raw[body + 8 : body + 16], "little")
        elif name == b"fmt " and size >= 16 and body + size <= len(raw):
            form = _form(raw[body : body + size])
        elif name == b"data" and form is not None:
            if size == 0xFFFFFFFF and long_size is not None:
                size = long_size
            return (*form, body, size)
        at = body + size + size % 2
    return None


def _form(chunk: bytes) -> tuple[int, int, int, int, int]:
    tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and chunk[26:40] == _GUID_TAIL:
        tag = int.from_bytes(chunk[24:26], "little")
    return tag, channels, rate, block, bits


def _samples(data: memoryview, kind: str, bits: int) -> np.ndarray:
    """Bytes -> float32, integers divided by 2^(bits-1)."""
    if kind == "packed":  # 24 bits into the upper three bytes of 32
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4").reshape(-1).astype(np.float32) / np.float32(2.0**31)
    values = np.frombuffer(data, kind)
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    samples = values.astype(np.float32)
    if bits == 8:  # the only ones without a sign
        samples -= np.float32(128.0)
    samples *= np.float32(2.0 ** (1 - bits))  # in place: a copy of a sound takes as long as this
    return samples
