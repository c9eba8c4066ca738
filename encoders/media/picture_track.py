"""The picture track of a video: its packets in memory, decoded only where a frame is wanted.

All packets are known before any is decoded. So the duration is known, and the keyframe from which a
wanted frame can be reached: frames in between are never decoded. On the way from the keyframe, frames
that are neither wanted nor needed for others are left out too, a third of the work where there are
many of them. That is exact where the container marks keyframes reliably (MP4, Matroska); elsewhere,
and where either does not deliver, every frame is decoded.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

from av.container import InputContainer

from encoders.media.container import Coverage, StreamDecoder, has_exact_keyframes
from encoders.media.errors import MediaError, Reason
from encoders.media.frames import target_times
from encoders.media.limits import Limits
from encoders.media.types import FramePolicy

# Nine hours at 30 frames per second: a bound on work and on packets held.
_MAX_PACKETS = 1_000_000
# Their decoders honour the wish to leave frames out; others ignore it, or gain nothing.
_SKIPPABLE = ("h264", "hevc")

Picture = TypeVar("Picture")


class _Frame(NamedTuple):
    pts: int
    decoded: Any


class _Keyframes(NamedTuple):
    pts: list[int]
    positions: list[int]


class _JumpFailed(Exception):
    """Decoding less than everything did not give the frame."""


class PictureTrack:
    """Collects the packets of one picture track, then gives the frames that a policy asks for."""

    def __init__(self, container: InputContainer, stream: Any, limits: Limits) -> None:
        self.index = stream.index
        self._decoder = StreamDecoder(container, stream, limits)
        self._coverage = Coverage(container, stream)
        self._time_base = Fraction(stream.time_base)
        self._may_jump = has_exact_keyframes(container)
        self._may_skip = stream.codec_context.codec.canonical_name in _SKIPPABLE
        self._packets: list[Any] = []
        context = stream.codec_context
        check_frame_size(context.width, context.height, limits)

    def add(self, packet: Any) -> None:
        """Keep one packet of this track."""
        if len(self._packets) >= _MAX_PACKETS:
            raise MediaError(Reason.TOO_LARGE, f"a video of more than {_MAX_PACKETS} frames")
        self._packets.append(packet)
        self._coverage.add(packet)

    def take(
        self, policy: FramePolicy, *, most: int, convert: Callable[[Any, int], Picture]
    ) -> list[tuple[float, Picture]]:
        """(seconds from the first frame, picture) for each time that the policy asks for.

        Args:
            policy: which times.
            most: upper bound on the number of pictures, beside the policy's own.
            convert: (decoded frame, number of pictures in all) -> what to keep of it. Called once
                per distinct frame; a frame showing at several times is given several times.

        Raises:
            MediaError: EMPTY when the track has no frame, DECODE_ERROR.
        """
        self._coverage.check()
        keyframes = self._keyframes() if self._may_jump else None
        if keyframes is not None:
            try:
                return self._take(policy, most, convert, keyframes)
            except (
                _JumpFailed,
                MediaError,
            ):  # a wrong keyframe mark, or a fault that walking shows too
                self._decoder.flush()
        return self._take(policy, most, convert, None)

    def _take(
        self,
        policy: FramePolicy,
        most: int,
        convert: Callable[[Any, int], Picture],
        keyframes: _Keyframes | None,
    ) -> list[tuple[float, Picture]]:
        walk = _Walk(self._packets, self._decoder, keyframes)
        first = next(walk, None)
        if first is None:
            self._decoder.check_end()
            raise MediaError(Reason.EMPTY, "the picture track holds no frames")
        end = max(self._coverage.end or 0, first.pts)
        times = target_times(policy, (end - first.pts) * self._time_base, most=most)
        ticks = [first.pts + time / self._time_base for time in times]
        expected = self._expected(ticks) if keyframes is not None and self._may_skip else []
        walk.only = frozenset(expected)
        taken: list[tuple[float, Picture]] = []
        previous = None
        for place, frame in enumerate(walk.showing(first, ticks)):
            if expected and frame.pts != expected[place]:
                raise _JumpFailed
            if frame is not previous:
                seconds = float((frame.pts - first.pts) * self._time_base)
                entry = (seconds, convert(frame.decoded, len(times)))
            taken.append(entry)
            previous = frame
        return taken

    def _expected(self, ticks: list[Fraction]) -> list[int]:
        """Stamps of the frames showing at these times (in units of pts), as the packets have it."""
        stamps = sorted(p.pts for p in self._packets if p.size and not p.is_discard)
        places = [bisect_right(stamps, tick) - 1 for tick in ticks]
        return [stamps[place] for place in places] if min(places) >= 0 else []

    def _keyframes(self) -> _Keyframes | None:
        """Where decoding may start; None where presentation times are missing or out of order."""
        packets = [(packet, at) for at, packet in enumerate(self._packets) if packet.size]
        if any(packet.pts is None for packet, _ in packets):
            return None
        keys = [(packet.pts, at) for packet, at in packets if packet.is_keyframe]
        if not keys or keys != sorted(keys):
            return None
        return _Keyframes([pts for pts, _ in keys], [at for _, at in keys])


class _Walk(Iterator[_Frame]):
    """Decoded frames in presentation order, from where it stands; may jump to a later keyframe.

    only: unless empty, stamps of the frames that are wanted; others may be left out.
    """

    def __init__(
        self, packets: list[Any], decoder: StreamDecoder, keyframes: _Keyframes | None
    ) -> None:
        self._packets = packets
        self._decoder = decoder
        self._keyframes = keyframes
        self._position = 0  # of the next packet to decode
        self._ready: deque[Any] = deque()
        self._latest: int | None = None
        self.only: frozenset[int] = frozenset()
        self._landing: int | None = None  # after a jump, the stamp of the keyframe to come

    def __next__(self) -> _Frame:
        while True:
            while not self._ready:
                if self._position == len(self._packets):
                    raise StopIteration
                packet = self._packets[self._position]
                needed = not (self.only and packet.size) or packet.pts in self.only
                self._ready.extend(self._decoder.decode(packet, needed=needed))
                self._position += 1
            decoded = self._ready.popleft()
            pts = _stamp(decoded)
            if self._landing is not None:
                if pts is not None and pts < self._landing:  # its references were skipped
                    continue
                if pts != self._landing or not decoded.key_frame:
                    raise _JumpFailed
                self._landing = None
            # Decoders put frames out in presentation order. Where the stamps disagree (AVI has none
            # for B-frames) the order is right and the stamps are not.
            known = [stamp for stamp in (pts, self._latest) if stamp is not None]
            self._latest = max(known, default=0)
            return _Frame(self._latest, decoded)

    def showing(self, first: _Frame, times: list[Fraction]) -> Iterator[_Frame]:
        """For each ascending time (in units of pts) the last frame at or before it."""
        held: _Frame | None = first
        ahead = next(self, None)
        for time in times:
            if self._jump(time):
                held, ahead = None, next(self, None)
            while ahead is not None and ahead.pts <= time:
                held, ahead = ahead, next(self, None)
            if held is None:
                raise _JumpFailed
            yield held

    def _jump(self, time: Fraction) -> bool:
        """Go to the last keyframe at or before `time`, if it still lies ahead."""
        if self._keyframes is None:
            return False
        k = bisect_right(self._keyframes.pts, time) - 1
        if k < 0 or self._keyframes.positions[k] <= self._position:
            return False
        self._decoder.flush()
        self._ready.clear()
        self._position = self._keyframes.positions[k]
        self._latest = self._landing = self._keyframes.pts[k]
        return True


def _stamp(timed: Any) -> int | None:
    """Presentation time of a packet or frame, or the next best thing."""
    return timed.dts if timed.pts is None else timed.pts


def check_frame_size(width: int, height: int, limits: Limits) -> None:
    """Refuse frames of more than `limits.pixels`."""
    if width * height > limits.pixels:
        raise MediaError(
            Reason.BOMB,
            f"frames of {width} x {height} pixels; limits.pixels is {limits.pixels}: "
            "raise it if you trust this source",
        )
