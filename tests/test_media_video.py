"""Videos: chosen frames against a decoding of every frame, sound against the manifest."""

import csv
import io
import math
from fractions import Fraction

import av
import numpy as np
import pytest

from encoders.media import FramePolicy, Limits, MediaError, Reason, Video, decode
from encoders.media.container import StreamDecoder, open_container
from encoders.media.frames import target_times
from encoders.media.video import KEPT_BYTES

LIMITS = Limits()
POLICIES = (
    FramePolicy(every=0.25, max=512),
    FramePolicy(every=1.0, max=32),
    FramePolicy(every=0.1, max=3),
)
MANY_FRAMES = "files/long_1080p_lowbitrate.mp4"  # 10,883 of 1080p: too slow for a full reference
MIRRORED = "files/sample_rotate_and_reflect.mp4"


def video(raw: bytes, limits: Limits = LIMITS, **options) -> Video:
    got = decode(raw, "video", limits, **options)
    assert isinstance(got, Video)
    return got


@pytest.fixture(scope="module")
def folder(data):
    return data / "videos"


@pytest.fixture(scope="module")
def manifest(folder):
    with open(folder / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def reference(folder):
    """path -> presentation times of all frames, from the first, and the end of the last."""
    known: dict[str, tuple[list[Fraction], Fraction]] = {}

    def times(path: str) -> tuple[list[Fraction], Fraction]:
        if path not in known:
            with av.open(str(folder / path)) as container:
                stream = container.streams.video[0]
                stamps, end = [], 0
                for frame in container.decode(stream):
                    stamp = frame.dts if frame.pts is None else frame.pts
                    stamps.append(max([stamp, *stamps[-1:]]))
                    end = max(end, stamps[-1] + (frame.duration or 0))
                base = stream.time_base
            known[path] = [(s - stamps[0]) * base for s in stamps], (end - stamps[0]) * base
        return known[path]

    return times


def pictures(path, numbers: set[int]) -> dict[int, np.ndarray]:
    """The numbered frames of a file as PyAV shows them, turned by the angle it reports."""
    found = {}
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in numbers:
                rgb = frame.to_ndarray(format="rgb24")
                found[number] = np.rot90(rgb, frame.rotation // 90)
            if len(found) == len(numbers):
                break
    return found


def wanted(times: list[Fraction], end: Fraction, policy: FramePolicy) -> list[int]:
    """The definition, word by word: for each t the number of the last frame at or before it."""
    step = Fraction(str(policy.every))
    targets = [k * step for k in range(math.ceil(end / step))] or [Fraction(0)]
    if len(targets) > policy.max:
        targets = [end * k / policy.max for k in range(policy.max)]
    return [max(k for k, time in enumerate(times) if time <= target) for target in targets]


def test_chosen_frames_are_the_ones_showing(manifest, folder, reference):
    assert len(manifest) == 50
    for row in manifest:
        path = row["path"]
        if path == MANY_FRAMES:
            continue
        times, end = reference(path)
        chosen = [wanted(times, end, policy) for policy in POLICIES]
        expected = pictures(folder / path, {number for numbers in chosen for number in numbers})
        raw = (folder / path).read_bytes()
        for policy, numbers in zip(POLICIES, chosen, strict=True):
            got = video(raw, frames=policy, sound=False)
            assert got.times == tuple(float(times[k]) for k in numbers), (path, policy)
            assert got.sound is None
            if path == MIRRORED:
                continue
            for number, picture in zip(numbers, got.frames, strict=True):
                assert picture.pixels.dtype == np.uint8
                assert picture.pixels.flags.c_contiguous
                np.testing.assert_array_equal(picture.pixels, expected[number], err_msg=path)


def test_one_decode_gives_pictures_and_sound(manifest, folder):
    for row in manifest:
        raw = (folder / row["path"]).read_bytes()
        if row["path"] == MANY_FRAMES:
            continue
        got = video(raw, frames=FramePolicy(every=10.0), sound=True)
        height, width = int(row["height"]), int(row["width"])
        if row["rotation"] in ("90", "-90"):
            height, width = width, height
        assert got.frames[0].pixels.shape == (height, width, 3), row["path"]
        if row["has_audio"] == "False":
            assert got.sound is None
            continue
        assert got.sound is not None
        assert got.sound.rate == int(row["sample_rate"]), row["path"]
        assert got.sound.samples.shape == (int(row["audio_samples"]),), row["path"]
        alone = video(raw, frames=None, sound=True)
        assert alone.frames == ()
        np.testing.assert_array_equal(alone.sound.samples, got.sound.samples)


def test_a_long_video_is_spanned(folder):
    raw = (folder / MANY_FRAMES).read_bytes()
    got = video(raw, frames=FramePolicy(every=1.0, max=6), sound=False)
    duration = Fraction(10883, 30)
    shown = [math.floor(duration * k / 6 * 30) for k in range(6)]
    assert got.times == pytest.approx([number / 30 for number in shown])


def test_limits_cap_the_number_of_frames(folder):
    raw = (folder / "files/silent-black-10s.mp4").read_bytes()
    got = video(raw, Limits(frames=4), frames=FramePolicy(every=1.0, max=32))
    assert got.times == (0.0, 2.5, 5.0, 7.5)


def test_mirroring_follows_the_matrix(folder):
    path = folder / MIRRORED
    got = video(path.read_bytes(), frames=FramePolicy(every=10.0)).frames[0].pixels
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        a, b, _, c, d = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), np.int32)[:5] / 65536
        rgb = frame.to_ndarray(format="rgb24")
    height, width = rgb.shape[:2]
    for y, x in [(0, 0), (0, width - 1), (height - 1, 0), (height // 3, width // 5)]:
        # The matrix turns about the centre of the picture.
        u, v = x - (width - 1) / 2, y - (height - 1) / 2
        to_x = a * u + c * v + (got.shape[1] - 1) / 2
        to_y = b * u + d * v + (got.shape[0] - 1) / 2
        np.testing.assert_array_equal(got[round(to_y), round(to_x)], rgb[y, x])


@pytest.mark.parametrize(
    "name",
    [
        "trim_optimization_failure.mp4",
        "sample_with_increasing_timestamps_320w_240h_5s.mp4",
        "h265_video.mp4",
        "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4",
        "bbb_800x640_768kbps_30fps_vp9.mp4",
        "bbb_176x144_192kbps_15fps_mpeg4.mp4",
        "hdr10-av1.mp4",
    ],
)
def test_false_keyframe_marks_change_nothing(folder, name):
    # Without its table of sync samples every frame of an MP4 counts as a keyframe.
    raw = (folder / "files" / name).read_bytes()
    policy = FramePolicy(every=0.4, max=4)
    lying = video(raw.replace(b"stss", b"free"), frames=policy, sound=False)
    honest = video(raw, frames=policy, sound=False)
    assert lying.times == honest.times
    for one, other in zip(lying.frames, honest.frames, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_what_no_frame_needs_is_left_out_and_changes_no_other(folder):
    raw = (folder / "files/bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4").read_bytes()

    def frames(wanted):
        with open_container(raw, LIMITS) as container:
            decoder = StreamDecoder(container, container.streams.video[0], LIMITS)
            for packet in container.demux(video=0):
                needed = not packet.size or wanted(packet.pts)
                for frame in decoder.decode(packet, needed=needed):
                    yield frame.pts, frame.to_ndarray()

    everything = dict(frames(lambda pts: True))
    chosen = set(sorted(everything)[::17])
    found = dict(frames(chosen.__contains__))
    assert chosen <= set(found)
    assert len(found) < 0.6 * len(everything)
    for pts, frame in found.items():
        np.testing.assert_array_equal(frame, everything[pts])


@pytest.mark.parametrize(
    ("every", "largest", "most", "duration", "expected"),
    [
        (1.0, 32, 512, Fraction(3), [0, 1, 2]),
        (1.0, 32, 512, Fraction(301, 100), [0, 1, 2, 3]),
        (0.1, 32, 512, Fraction(3, 10), [0, Fraction(1, 10), Fraction(1, 5)]),
        (1.0, 2, 512, Fraction(10), [0, 5]),
        (1.0, 32, 4, Fraction(10), [0, Fraction(5, 2), 5, Fraction(15, 2)]),
        (1.0, 32, 512, Fraction(0), [0]),
    ],
)
def test_target_times(every, largest, most, duration, expected):
    assert target_times(FramePolicy(every=every, max=largest), duration, most=most) == expected


def encoded(width: int, height: int, count: int, *, rate: int = 10) -> bytes:
    """A video whose frame k is grey of level 10 k."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(count):
            level = np.full((height, width, 3), 10 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def test_frames_beyond_the_memory_cap_are_shrunk_together():
    raw = encoded(3840, 2160, 12)
    policy = FramePolicy(every=0.1)
    got = video(raw, frames=policy)
    shapes = {picture.pixels.shape for picture in got.frames}
    assert len(got.frames) == 12
    assert len(shapes) == 1
    total = sum(picture.pixels.nbytes for picture in got.frames)
    assert 0.99 * KEPT_BYTES < total <= KEPT_BYTES
    for k, picture in enumerate(got.frames):
        assert abs(float(picture.pixels.mean()) - 10 * k) < 4


def test_a_frame_showing_twice_is_given_twice():
    got = video(encoded(32, 32, 3, rate=1), frames=FramePolicy(every=0.5))
    assert got.times == (0.0, 0.0, 1.0, 1.0, 2.0, 2.0)
    assert got.frames[0] is got.frames[1]


def test_frames_of_too_many_pixels():
    with pytest.raises(MediaError) as caught:
        video(encoded(640, 480, 2), Limits(pixels=300_000), frames=FramePolicy())
    assert caught.value.reason == Reason.BOMB


def test_a_cut_off_video_is_an_error(folder):
    raw = (folder / "files/sample.mp4").read_bytes()  # its index comes first
    for share in (0.3, 0.6, 0.8):
        with pytest.raises(MediaError) as caught:
            video(raw[: int(len(raw) * share)], frames=FramePolicy())
        assert caught.value.reason == Reason.DECODE_ERROR


def test_a_sound_given_as_video(data):
    raw = (data / "audio_formats/files/bear.flac").read_bytes()
    with pytest.raises(MediaError, match="no pictures") as caught:
        video(raw, frames=FramePolicy())
    assert caught.value.reason == Reason.UNSUPPORTED
    assert video(raw, frames=None).sound is not None


def test_a_policy_that_asks_for_nothing():
    with pytest.raises(ValueError, match="every > 0"):
        video(b"x", frames=FramePolicy(every=0.0))
