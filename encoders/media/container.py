"""FFmpeg containers, opened from bytes alone, and one decoder per stream.

What a hostile file could ask FFmpeg for is refused three times over: only the demuxers of
`CONTAINERS` may read it (no playlists, no concat, no DASH or HLS, no SDP), no protocol is allowed,
and a demuxer that asks to open a second file gets an exception. Every decoder runs on one thread:
parallelism is over files, and FFmpeg's frame threads hang now and then.
"""

import io
from typing import Any

import av
import av.error
from av.container import InputContainer

from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from encoders.media.sniff import unreadable

# FFmpeg's names. The first group states its own structure; in the second every packet stands for
# itself, so that reading may start in the middle and end in rubbish.
_INDEXED = (
    *("wav", "w64", "aiff", "au", "caf", "flac", "ogg", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"),
    *("asf", "avi", "flv", "ape", "wv", "tta", "mpc", "mpc8", "amr"),
)
_SELF_FRAMING = ("mp3", "aac", "ac3", "eac3", "dts", "loas", "mpegts", "mpeg")
CONTAINERS = _INDEXED + _SELF_FRAMING
# Their headers state how long each track is, so that a file cut off between packets is noticed.
_STATED_DURATION = ("mov,mp4,m4a,3gp,3g2,mj2", "avi", "asf", "aiff", "ape")
# What lets a decoder start at any packet marked as a keyframe.
_EXACT_KEYFRAMES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_PROBED_PIXELS = 2**28
# Of one decoded piece of sound; the largest in use, Monkey's Audio, are a million.
_FRAME_SAMPLES = 2**24
_EXPECTED = "a sound or video file (MP4, MOV, Matroska, WebM, AVI, MPEG, WAV, MP3, FLAC, Ogg ...)"


def open_container(raw: bytes, limits: Limits) -> InputContainer:
    """Open the bytes for demuxing; close it with `with`.

    Raises:
        MediaError: UNSUPPORTED for another kind of file, BAD_FORMAT for an unknown one,
            DECODE_ERROR for a known one with a broken header.
    """
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "protocol_whitelist": "none",
        "max_streams": "100",
        # Probing may decode a frame. Above the limit, so that the header is read and can be judged.
        "max_pixels": str(max(2 * limits.pixels, _PROBED_PIXELS)),
        "max_samples": str(_FRAME_SAMPLES),
    }
    try:
        return av.open(
            io.BytesIO(raw), "r", options=options, metadata_errors="replace", io_open=_refuse
        )
    except av.error.FFmpegError as err:
        raise unreadable(raw, "media", _EXPECTED) from err


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError("a medium may not open other files")


def is_self_framing(container: InputContainer) -> bool:
    """Whether rubbish before and after the good bytes is usual here (tags, cut broadcasts)."""
    return container.format.name in _SELF_FRAMING


def has_exact_keyframes(container: InputContainer) -> bool:
    """Whether a keyframe mark can be trusted as a place to start decoding."""
    return container.format.name in _EXACT_KEYFRAMES


class Coverage:
    """How much of its stated duration a track has packets for.

    end: presentation time, in ticks of the stream, at which the last packet ends.
    """

    # Edit lists and rounding leave a few percent without packets in intact files.
    _ENOUGH = 0.9

    def __init__(self, container: InputContainer, stream: Any) -> None:
        stated = container.format.name in _STATED_DURATION
        self._duration: int = stream.duration or 0 if stated else 0
        self._seconds_per_tick = float(stream.time_base or 0)
        self._start: int | None = None
        self.end: int | None = None

    def add(self, packet: Any) -> None:
        """Note a packet of the track."""
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or packet.is_discard:
            return
        end = stamp + (packet.duration or 0)
        self._start = stamp if self._start is None else min(self._start, stamp)
        self.end = end if self.end is None else max(self.end, end)

    def check(self) -> None:
        """Raise DECODE_ERROR for a track that stops well before its header says."""
        if self._start is None or self.end is None:
            return
        covered = self.end - self._start
        if covered < self._ENOUGH * self._duration:
            stated, found = (ticks * self._seconds_per_tick for ticks in (self._duration, covered))
            raise MediaError(
                Reason.DECODE_ERROR,
                f"cut off: the header states a track of {stated:.2f} s, {found:.2f} s follow",
            )


class StreamDecoder:
    """Packets of one stream -> frames, with one rule for broken ones.

    In an indexed container every error is an error. In a self-framing one, undecodable packets
    before the first frame and after the last are rubbish around the medium and are skipped; a hole
    between good frames is an error. So no medium is shortened silently, save one: a stream (Ogg,
    Matroska, FLV, MPEG) cut off between two packets, where nothing says that more was to come.
    """

    def __init__(self, container: InputContainer, stream: Any, limits: Limits) -> None:
        self.stream = stream
        if stream.codec_context is None:
            raise MediaError(Reason.UNSUPPORTED, f"no decoder for its {stream.type} track")
        self._what = f"{stream.type} ({stream.codec_context.codec.canonical_name})"
        self._tolerant = is_self_framing(container)
        self._seen_frames = False
        self._skipping = False
        self._failure: av.error.FFmpegError | None = None
        stream.codec_context.options = {
            "max_pixels": str(limits.pixels),
            "max_samples": str(_FRAME_SAMPLES),
        }
        stream.codec_context.thread_count = 1  # before the codec opens
        stream.codec_context.thread_type = "NONE"

    def decode(self, packet: Any, *, needed: bool = True) -> list[Any]:
        """The frames that this packet completes.

        Args:
            packet: the next one of the stream.
            needed: whether its own frame is wanted. Otherwise it may be left out, if no other frame
                is predicted from it.

        Raises:
            MediaError: DECODE_ERROR.
        """
        if packet.is_corrupt and not self._tolerant:
            raise MediaError(Reason.DECODE_ERROR, f"{self._what}: a packet is cut off or damaged")
        if needed == self._skipping:
            self._skipping = not needed
            self.stream.codec_context.skip_frame = "NONREF" if self._skipping else "DEFAULT"
        try:
            frames = packet.decode()
        except av.error.FFmpegError as err:
            if not self._tolerant:
                raise self._error(err) from err
            self._failure = err
            return []
        if frames:
            if self._failure is not None and self._seen_frames:
                raise self._error(self._failure) from self._failure
            self._seen_frames, self._failure = True, None
        return frames

    def check_end(self) -> None:
        """After the last packet: if nothing could be decoded, the first failure is the reason."""
        if self._failure is not None and not self._seen_frames:
            raise self._error(self._failure) from self._failure

    def flush(self) -> None:
        """Forget what is in flight, to go on from another packet."""
        if self.stream.codec_context.is_open:
            self.stream.codec_context.flush_buffers()

    def _error(self, err: av.error.FFmpegError) -> MediaError:
        return MediaError(Reason.DECODE_ERROR, f"{self._what}: {err.strerror}")
