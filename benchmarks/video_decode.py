"""Frames out of videos beside PyAV that decodes them all: writes docs/results/video_decode.json and .md.

    POLYFUSE_TEST_DATA=FOLDER python -m benchmarks.video_decode

H.264 1280x720 with groups of 30 and of 250 pictures; a frame every second, and one every four. Both on
one thread, from bytes in memory to RGB arrays, in turns; PyAV converts only the frames that are wanted.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

from benchmarks import results
from benchmarks.speed import corpora
from encoders.media.frames import target_times
from encoders.media.limits import Limits
from encoders.media.types import FramePolicy
from encoders.media.video import decode_video

NAME = "video_decode"
CLIPS, SECONDS, ROUNDS = 3, 20, 5
EVERY = (1.0, 4.0)  # seconds between the frames that are taken
AIMED = {1.0: 1.25, 4.0: 3.0}


def main() -> None:
    results.main(NAME, __doc__, measure, page, needs="photos/")


def measure(data: Path) -> dict[str, Any]:
    """Seconds per clip of both, and whether they give the same pictures."""
    about = results.about(NAME, "av", "numpy", threads=1) | {"seed": 0, "load": os.getloadavg()[0]}
    photos = corpora.photos(data)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for group in corpora.GROUPS:
            paths = [Path(folder, f"{group}-{number}.mp4") for number in range(CLIPS)]
            for number, path in enumerate(paths):
                photo = corpora.picture(photos, number, 1600, 900)
                corpora.clip(photo, path, group=group, seconds=SECONDS)
            clips = [path.read_bytes() for path in paths]
            rows += [{"group": group, **_compare(clips, FramePolicy(every))} for every in EVERY]
            print(rows[-2:], flush=True)
    return about | {"clips": CLIPS, "seconds": SECONDS, "rounds": ROUNDS, "rows": rows}


def _compare(clips: list[bytes], policy: FramePolicy) -> dict[str, Any]:
    same = all(
        np.array_equal(one, other)
        for clip in clips
        for one, other in zip(_ours(clip, policy), _theirs(clip, policy), strict=True)
    )
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_timed(_ours, clips, policy))
        theirs.append(_timed(_theirs, clips, policy))
    return {"every": policy.every, "same": same, "ours": median(ours), "theirs": median(theirs)}


def _timed(
    decode: Callable[[bytes, FramePolicy], object], clips: list[bytes], policy: FramePolicy
) -> float:
    start = time.perf_counter()
    for clip in clips:
        decode(clip, policy)
    return (time.perf_counter() - start) / len(clips)


def _ours(clip: bytes, policy: FramePolicy) -> list[np.ndarray]:
    video = decode_video(clip, Limits(), policy, sound=False)
    return [np.asarray(frame.pixels) for frame in video.frames]


def _theirs(clip: bytes, policy: FramePolicy) -> list[np.ndarray]:
    """For each time the last frame that is not later."""
    targets = target_times(policy, Fraction(SECONDS), most=10**6)
    taken: list[np.ndarray] = []
    with av.open(io.BytesIO(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        shown = None
        for frame in container.decode(stream):
            while (
                len(taken) < len(targets)
                and shown is not None
                and _time(frame) > targets[len(taken)]
            ):
                taken.append(shown.to_ndarray(format="rgb24"))
            shown = frame
        assert shown is not None
        taken += [shown.to_ndarray(format="rgb24")] * (len(targets) - len(taken))
    return taken


def _time(frame: Any) -> Fraction:
    return frame.pts * frame.time_base


# -- the page


def page(found: Mapping[str, Any]) -> str:
    """docs/results/video_decode.md."""
    lines = [
        "# Frames out of videos beside PyAV",
        "",
        f"H.264 1280x720, 30 frames a second, {found['seconds']} s (`benchmarks/speed/corpora.py`). One",
        "thread each, from bytes in memory to RGB arrays, in turns; medians of "
        f"{found['rounds']} rounds over {found['clips']} clips.",
        "PyAV decodes every frame and converts those that are wanted. group: pictures from one that stands",
        f"by itself to the next. Load of the machine: {found['load']:.1f}.",
        "",
        "| group | a frame every | ours, ms | PyAV, ms | ratio | aimed at | same pictures |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *map(_line, found["rows"]),
    ]
    return "\n".join([*lines, *results.footer(found, "benchmarks/video_decode.py")]) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    aimed, ratio = AIMED[row["every"]], row["theirs"] / row["ours"]
    missed = "" if ratio >= aimed else ": missed"
    times = f"{1000 * row['ours']:.0f} | {1000 * row['theirs']:.0f} | {ratio:.2f}"
    same = "yes" if row["same"] else "NO"
    return f"| {row['group']} | {row['every']:.0f} s | {times} | {aimed}{missed} | {same} |"


if __name__ == "__main__":
    main()
