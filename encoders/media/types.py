"""What decoding gives. Arrays are numpy, C-contiguous and owned (no view of a decoder's)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Image:
    """pixels: (H, W, 3) uint8, sRGB, upright (EXIF orientation applied)."""

    pixels: np.ndarray


@dataclass(frozen=True)
class Waveform:
    """samples: (N,) float32, nominally in [-1, 1], the mean of all channels; rate: in Hz."""

    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class FramePolicy:
    """Which frames of a video to take: those showing at 0, every, 2*every ... seconds, at most max.

    Longer videos are sampled at evenly wider steps so that `max` frames span the whole video.
    """

    every: float = 1.0
    max: int = 32


@dataclass(frozen=True)
class Video:
    """frames: the chosen pictures, in time order, one per time of the policy (the same object where
    a frame shows at several); times: their presentation times in seconds from the first frame;
    sound: None where the file has no sound track or none was asked for.
    """

    frames: tuple[Image, ...]
    times: tuple[float, ...]
    sound: Waveform | None
