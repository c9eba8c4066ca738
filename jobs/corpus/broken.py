"""The broken files that every real corpus has: one of each kind, each spoiling one medium."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Breakage:
    """A kind of broken file: which modality it spoils, its suffix, and how it is made.

    `spoil` gets the bytes of a good file of that suffix and gives the broken ones; None: the file
    is not there at all. `what` is for people.
    """

    modality: str
    suffix: str
    what: str
    spoil: Callable[[bytes], bytes] | None


def spoil(path: Path, breakage: Breakage) -> None:
    """Break the good file at `path` in place."""
    if breakage.spoil is None:
        path.unlink()
    else:
        path.write_bytes(breakage.spoil(path.read_bytes()))


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda good: good[: int(len(good) * share)]


def _lying_png(good: bytes) -> bytes:
    """The same PNG, its header claiming 60000 x 60000 pixels, with a checksum that fits."""
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + good[24:29]
    return good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:]


def _web_page(good: bytes) -> bytes:
    return b"<!doctype html>\n<title>404</title>\n<p>This picture has moved.</p>\n"


def _text(good: bytes) -> bytes:
    return b"TODO: ask for the recording\n" * 20


def _no_samples(good: bytes) -> bytes:
    """A WAV file's header, and nothing after it: a recording that never began."""
    head = good[: good.index(b"data") + 4] + struct.pack("<I", 0)
    return head[:4] + struct.pack("<I", len(head) - 8) + head[8:]


BREAKAGES = (
    Breakage("image", ".jpg", "a JPEG whose second half is missing", _cut(0.4)),
    Breakage("image", ".png", "a PNG that claims to be 60000 x 60000", _lying_png),
    Breakage("image", ".jpg", "an empty file", _cut(0)),
    Breakage("image", ".webp", "a web page saved as a picture", _web_page),
    Breakage("audio", ".wav", "text named .wav", _text),
    Breakage("audio", ".wav", "a WAV header without samples", _no_samples),
    Breakage("audio", ".flac", "a path to no file", None),
    Breakage("video", ".mp4", "an MP4 without its second half, where the index was", _cut(0.5)),
)
