"""Sound -> mono float32 at its own rate.

Channels are averaged with equal weight (a 5.1 mix too: no channel is dropped or favoured), integers
are divided by 2^(bits-1), nothing is resampled. Padding that a codec adds and its container
declares is removed by FFmpeg. Plain WAV takes a short cut (`wav`).

A sound is never shortened silently: see `container.StreamDecoder`, and `wav` for files shorter than
their header says.
"""

from typing import Any

import numpy as np
from av.container import InputContainer

from encoders.media.container import Coverage, StreamDecoder, is_self_framing, open_container
from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from encoders.media.types import Waveform
from encoders.media.wav import read_pcm

# No sound card or file format in use is faster; a broken header may say anything up to 2^32.
_MAX_RATE = 1_000_000
# Faster sound counts against `limits.seconds` as if at this rate: silence at 1 MHz packs well.
_STUDIO_RATE = 192_000
_FULL_SCALE = {"u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}


def decode_audio(raw: bytes, limits: Limits) -> Waveform:
    """Decode the first sound track of a file.

    Raises:
        MediaError: TOO_LARGE, UNSUPPORTED, BAD_FORMAT, DECODE_ERROR, EMPTY or NON_FINITE.
    """
    plain = read_pcm(raw, limits)
    if plain is not None:
        samples, rate = plain
        return _waveform(_mean(samples.T), rate)
    with open_container(raw, limits) as container:
        stream = sound_stream(container)
        if stream is None:
            raise MediaError(
                Reason.UNSUPPORTED, f"no sound track in this {container.format.name} file"
            )
        sound = SoundTrack(container, stream, limits)
        for packet in container.demux(stream):
            sound.add(packet)
        waveform = sound.finish()
    if waveform is None:
        raise MediaError(Reason.EMPTY, "the sound track holds no samples")
    return waveform


def sound_stream(container: InputContainer) -> Any | None:
    """The first sound track, or None."""
    return container.streams.audio[0] if container.streams.audio else None


class SoundTrack:
    """Collects one sound track, packet by packet, within `limits.seconds`."""

    def __init__(self, container: InputContainer, stream: Any, limits: Limits) -> None:
        self.index = stream.index
        self._decoder = StreamDecoder(container, stream, limits)
        self._coverage = Coverage(container, stream)
        self._seconds = limits.seconds
        self._rate = 0
        self._samples = bytearray()  # float32; grows in place, half the peak of a list of arrays
        # Self-framing streams state no duration: FFmpeg guesses one from the bit rate.
        if stream.duration is not None and not is_self_framing(container):
            self._check_seconds(float(stream.duration * stream.time_base))

    def add(self, packet: Any) -> None:
        """Decode one packet of this track."""
        self._coverage.add(packet)
        for frame in self._decoder.decode(packet):
            self._check_rate(frame.sample_rate)
            self._samples += _mean(_channels(frame)).tobytes()
            self._check_seconds(len(self._samples) / 4 / min(self._rate, _STUDIO_RATE))

    def finish(self) -> Waveform | None:
        """The whole track, or None when it holds no samples."""
        self._decoder.check_end()
        self._coverage.check()
        if not self._samples:
            return None
        return _waveform(np.frombuffer(self._samples, np.float32), self._rate)

    def _check_rate(self, rate: int) -> None:
        if self._rate not in (0, rate):
            raise MediaError(
                Reason.DECODE_ERROR, f"the sample rate changes from {self._rate} to {rate} Hz"
            )
        self._rate = rate
        if not 0 < rate <= _MAX_RATE:
            raise MediaError(Reason.DECODE_ERROR, f"a sample rate of {rate} Hz")

    def _check_seconds(self, seconds: float) -> None:
        if seconds > self._seconds:
            raise MediaError(
                Reason.TOO_LARGE, f"a sound longer than limits.seconds, which is {self._seconds:g}"
            )


def _channels(frame: Any) -> np.ndarray:
    """Decoded frame -> (channels, samples) in [-1, 1]."""
    values = frame.to_ndarray()  # (C, N) planar, (1, N * C) packed
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    scale = _FULL_SCALE.get(values.dtype.str[1:])
    if scale is None:
        return values
    floats = values.astype(np.float32)
    if values.dtype.kind == "u":
        floats -= np.float32(scale)
    return floats / np.float32(scale)


def _mean(channels: np.ndarray) -> np.ndarray:
    """(C, N) -> (N,) float32."""
    if len(channels) == 1:
        return channels[0].astype(np.float32, copy=False)
    total = channels[0].astype(np.float32)
    for channel in channels[1:]:  # several times faster than a mean over so short an axis
        total += channel
    return total / np.float32(len(channels))


def _waveform(samples: np.ndarray, rate: int) -> Waveform:
    if not 0 < rate <= _MAX_RATE:
        raise MediaError(Reason.DECODE_ERROR, f"a sample rate of {rate} Hz")
    if samples.size == 0:
        raise MediaError(Reason.EMPTY, "the sound track holds no samples")
    if not np.isfinite(samples).all():
        raise MediaError(Reason.NON_FINITE, "the sound holds samples that are not finite numbers")
    return Waveform(np.require(samples, requirements=["C", "W"]), rate)
