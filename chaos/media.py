"""Small intact pictures, sounds and clips of every common format, drawn at random."""

import io
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from PIL import Image

PICTURES = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "tiff": "TIFF", "bmp": "BMP"}
SOUNDS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus", "m4a": "aac"}
CLIPS = {"mp4": "libx264", "mkv": "mpeg4", "webm": "libvpx", "avi": "mjpeg"}
KINDS = {
    "image": tuple(PICTURES),
    "audio": tuple(SOUNDS),
    "video": tuple(CLIPS),
}


def intact(seed: int, each: int) -> Iterator[tuple[str, str, bytes]]:
    """(kind, suffix, bytes): so many of each format; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    for _ in range(each):
        yield from (("image", suffix, picture(suffix, rng)) for suffix in PICTURES)
        yield from (("audio", suffix, sound(suffix, rng)) for suffix in SOUNDS)
        yield from (("video", suffix, clip(suffix, rng)) for suffix in CLIPS)


def picture(suffix: str, rng: np.random.Generator) -> bytes:
    """A soft pattern of 48 x 40."""
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    sink = io.BytesIO()
    coarse.resize((48, 40)).save(sink, PICTURES[suffix])
    return sink.getvalue()


def sound(suffix: str, rng: np.random.Generator) -> bytes:
    """Half a second of a tone."""
    sink = io.BytesIO()
    with _container(sink, suffix) as container:
        stream = container.add_stream(SOUNDS[suffix], rate=48_000)
        stream.layout = "mono"
        tone = np.sin(2 * np.pi * rng.uniform(200, 2000) * np.arange(24_000) / 48_000)
        frame = av.AudioFrame.from_ndarray((tone * 20_000).astype("<i2")[None], layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(stream.format, "mono", 48_000, stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return sink.getvalue()


def clip(suffix: str, rng: np.random.Generator) -> bytes:
    """Eight pictures of 64 x 48, at eight a second."""
    sink = io.BytesIO()
    with _container(sink, suffix) as container:
        stream = container.add_stream(CLIPS[suffix], rate=8)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if suffix == "avi" else "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(8):
            coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
            frame = av.VideoFrame.from_image(coarse.resize((64, 48)))
            frame.pts, frame.time_base = number, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


def _container(sink: io.BytesIO, suffix: str) -> av.container.OutputContainer:
    names = {"m4a": "mp4", "mkv": "matroska"}  # where FFmpeg's name is not the suffix
    return av.open(sink, "w", format=names.get(suffix, suffix))
