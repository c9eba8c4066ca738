"""One concept -> one encoded picture, sound or clip. The same rng gives the same bytes.

Encoders run on one thread, in bit-exact mode and without dates: what they write depends on the
input alone.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from PIL.Image import Transpose

from jobs.corpus.canvas import Canvas, Nuisance
from jobs.corpus.concepts import Concept

_PICTURE_SIZES = (
    (320, 240),
    (240, 320),
    (256, 256),
    (400, 300),
    (384, 216),
    (200, 260),
    (160, 160),
)
PICTURE_FORMATS = (".jpg", ".png", ".webp")
_CLIP_SIZES = ((160, 120), (192, 108), (120, 160), (176, 144), (128, 128))
_CLIP_RATES = (8, 10, 12)

# EXIF orientation -> how a camera held that way stores an upright picture.
_STORED = {3: Transpose.ROTATE_180, 6: Transpose.ROTATE_90, 8: Transpose.ROTATE_270}
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class SoundFormat:
    """How one sound is written; `bit_rate` is for the lossy ones."""

    suffix: str
    codec: str
    rate: int
    layout: str
    bit_rate: int | None = None


SOUND_FORMATS = (
    SoundFormat(".wav", "pcm_s16le", 16000, "mono"),
    SoundFormat(".flac", "flac", 44100, "stereo"),
    SoundFormat(".ogg", "libopus", 48000, "mono", 48000),
    SoundFormat(".wav", "pcm_s16le", 22050, "stereo"),
    SoundFormat(".flac", "flac", 32000, "mono"),
    SoundFormat(".ogg", "libopus", 24000, "stereo", 64000),
    SoundFormat(".wav", "pcm_s16le", 44100, "mono"),
)


def write_picture(path: Path, concept: Concept, rng: np.random.Generator, *, turned: bool) -> None:
    """Draw and save; the suffix says the format. `turned` stores it rotated, with an EXIF note."""
    size = _PICTURE_SIZES[rng.integers(len(_PICTURE_SIZES))]
    picture = _paint(concept, size, Nuisance.draw(rng), int(rng.integers(2**32)), 0.0)
    exif = Image.Exif()
    if turned:
        orientation = int(rng.choice(list(_STORED)))
        picture = picture.transpose(_STORED[orientation])
        exif[_ORIENTATION_TAG] = orientation
    if path.suffix == ".png":
        picture.quantize(64).save(path, exif=exif)
    else:
        picture.save(path, quality=int(rng.integers(75, 93)), exif=exif)


def write_sound(
    path: Path, concept: Concept, rng: np.random.Generator, sound_format: SoundFormat
) -> None:
    """Synthesise and encode one sound of about two seconds."""
    samples = _sound(concept, rng, float(rng.uniform(1.4, 2.2)), sound_format)
    with _container(path) as container:
        stream = _add_sound(container, sound_format)
        _encode_sound(container, stream, samples, sound_format)


def write_clip(path: Path, concept: Concept, rng: np.random.Generator, *, silent: bool) -> None:
    """Draw and synthesise an MP4 of about two seconds; `silent` leaves out the sound track."""
    width, height = _CLIP_SIZES[rng.integers(len(_CLIP_SIZES))]
    rate = int(rng.choice(_CLIP_RATES))
    seconds = float(rng.uniform(1.4, 2.2))
    nuisance, seed = Nuisance.draw(rng), int(rng.integers(2**32))
    layout, sound_rate = str(rng.choice(["mono", "stereo"])), int(rng.choice([22050, 44100]))
    sound_format = SoundFormat(".mp4", "aac", sound_rate, layout, 64000)
    with _container(path) as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        # Its plain C: what it has for one processor may give other bytes on another, or each time.
        video.options = {"preset": "veryfast", "crf": "26", "threads": "1", "x264-params": "asm=0"}
        video.codec_context.thread_count = 1
        _bit_exact(video)
        sound = None if silent else _add_sound(container, sound_format)
        for number in range(round(seconds * rate)):
            picture = _paint(concept, (width, height), nuisance, seed, number / rate)
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            _encode_sound(
                container, sound, _sound(concept, rng, seconds, sound_format), sound_format
            )


def _paint(
    concept: Concept, size: tuple[int, int], nuisance: Nuisance, seed: int, time: float
) -> Image.Image:
    canvas = Canvas(size, concept.background, nuisance)
    concept.paint(canvas, np.random.default_rng(seed), time)
    return canvas.finish(np.random.default_rng([seed, round(time * 1000)]))


def _sound(
    concept: Concept, rng: np.random.Generator, seconds: float, sound_format: SoundFormat
) -> np.ndarray:
    """(channels, N) int16: the sound at some loudness and place between the channels, with hiss."""
    samples = concept.synth(rng, seconds, sound_format.rate)
    samples = samples / np.abs(samples).max() * rng.uniform(0.4, 0.9)
    channels = 2 if sound_format.layout == "stereo" else 1
    balance = rng.uniform(0.6, 1.0, channels)[:, None]
    hiss = rng.standard_normal((channels, len(samples))) * 10 ** rng.uniform(-3.2, -2.6)
    return ((samples * balance + hiss).clip(-1, 1) * 32767).astype(np.int16)


def _container(path: Path) -> av.container.OutputContainer:
    return av.open(str(path), "w", container_options={"fflags": "+bitexact"})


def _bit_exact(stream: av.stream.Stream) -> None:
    stream.codec_context.flags |= av.codec.context.Flags.bitexact


def _add_sound(
    container: av.container.OutputContainer, sound_format: SoundFormat
) -> av.audio.AudioStream:
    stream = container.add_stream(sound_format.codec, rate=sound_format.rate)
    assert isinstance(stream, av.audio.AudioStream)
    if sound_format.codec == "aac":
        stream.options = {"aac_coder": "fast"}
    stream.layout = sound_format.layout
    stream.codec_context.thread_count = 1
    if sound_format.bit_rate:
        stream.bit_rate = sound_format.bit_rate
    _bit_exact(stream)
    return stream


def _encode_sound(
    container: av.container.OutputContainer,
    stream: av.audio.AudioStream,
    samples: np.ndarray,
    sound_format: SoundFormat,
) -> None:
    packed = np.ascontiguousarray(samples.T).reshape(1, -1)  # interleaved, as s16 is
    frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=sound_format.layout)
    frame.rate, frame.pts = sound_format.rate, 0
    resampler = av.AudioResampler(
        stream.codec_context.format, sound_format.layout, sound_format.rate,
        frame_size=stream.codec_context.frame_size,
    )  # fmt: skip
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
