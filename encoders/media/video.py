"""Video -> chosen pictures and the sound track, in one pass over the file.

Pictures are the ones showing at the policy's times (`frames.target_times`), found by exact
presentation time (`picture_track`). They come upright (rotation and mirroring of the container
applied, rounded to right angles), as 8-bit RGB by swscale's rules: 10 bits are reduced, HDR is not
tone-mapped, non-square pixels stay as stored.

Pictures keep their native size as long as all of one video fit in 256 MiB together (40 of 1080p);
otherwise all are shrunk by one factor, by area averaging, until they fit: the width and the height
are multiplied by sqrt(256 MiB / native bytes) and rounded down. They are not shrunk to what a model
wants: swscale takes several times longer to shrink a frame than to convert it whole, and its small
pictures moved vectors further than encoders' own resizing may (cosine 0.988 against 0.995).
"""

from math import sqrt
from typing import Any

import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from encoders.media.audio import SoundTrack, sound_stream
from encoders.media.container import open_container
from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from encoders.media.picture_track import PictureTrack, check_frame_size
from encoders.media.types import FramePolicy, Image, Video

KEPT_BYTES = 256 * 1024 * 1024


def decode_video(raw: bytes, limits: Limits, frames: FramePolicy | None, *, sound: bool) -> Video:
    """Decode the first picture track and the first sound track, each only if wanted.

    Raises:
        MediaError: UNSUPPORTED when pictures are wanted and there are none; BOMB, TOO_LARGE,
            BAD_FORMAT, DECODE_ERROR, EMPTY, NON_FINITE. A failing sound track fails the whole call:
            ask again for one of the two to keep the other.
    """
    with open_container(raw, limits) as container:
        pictures = _picture_track(container, limits) if frames else None
        stream = sound_stream(container) if sound else None
        track = SoundTrack(container, stream, limits) if stream else None
        wanted = {part.index: part for part in (pictures, track) if part is not None}
        if not wanted and not container.streams.video:
            raise MediaError(Reason.UNSUPPORTED, f"no media in this {container.format.name} file")
        if wanted:
            for packet in container.demux([container.streams[index] for index in wanted]):
                wanted[packet.stream.index].add(packet)  # stream_index is 0 in a draining packet
        waveform = track.finish() if track else None
        if pictures is None or frames is None:
            return Video((), (), waveform)
        converter = _Converter(limits)
        taken = pictures.take(frames, most=limits.frames, convert=converter)
    times, images = zip(*taken, strict=True)
    return Video(images, times, waveform)


def _picture_track(container: InputContainer, limits: Limits) -> PictureTrack:
    """The first picture track that is not cover art."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return PictureTrack(container, stream, limits)
    raise MediaError(
        Reason.UNSUPPORTED, f"no pictures in this {container.format.name} file; is it a sound?"
    )


class _Converter:
    """Decoded frames -> upright RGB. One scaler serves a whole video: each holds some 15 MB."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._scaler = VideoReformatter()

    def __call__(self, frame: Any, count: int) -> Image:
        """Convert one of `count` frames that will be kept."""
        check_frame_size(frame.width, frame.height, self._limits)
        shrink = sqrt(KEPT_BYTES / (3 * frame.width * frame.height * count))
        size: dict[str, Any] = {}
        if shrink < 1:
            size = {
                "width": max(1, int(frame.width * shrink)),
                "height": max(1, int(frame.height * shrink)),
                "interpolation": Interpolation.AREA,
            }
        rgb = self._scaler.reformat(frame, format="rgb24", **size).to_ndarray()
        return Image(np.array(_upright(rgb, frame), order="C"))


def _upright(rgb: np.ndarray, frame: Any) -> np.ndarray:
    """Apply the container's display matrix: (x, y) -> (a x + c y, b x + d y), y downwards."""
    try:
        matrix = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), np.int32)
    except KeyError:
        return rgb
    a, b, c, d = (int(matrix[k]) for k in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
