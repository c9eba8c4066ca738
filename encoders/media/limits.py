"""Caps that a medium must respect before and while it is decoded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Safe defaults; each is a key of `limits:` in the configuration.

    bytes: size of the encoded medium; pixels: of one picture or one video frame; frames: decoded
    and kept from one video; seconds: of sound decoded from one medium; item_timeout: seconds one
    medium may take in a disposable decoder.
    """

    bytes: int = 512_000_000
    pixels: int = 178_000_000
    frames: int = 512
    seconds: float = 3600.0
    item_timeout: float = 60.0
