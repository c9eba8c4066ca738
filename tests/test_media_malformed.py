"""Hostile and broken files: a MediaError or a valid medium, nothing else, in good time.

Decoding runs in a child process under a memory cap, so that a crash is a failed test.
"""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

PREAMBLE = """
import csv, faulthandler, io, json, os, resource, sys, tarfile, time, warnings
import numpy as np
from encoders.media import FramePolicy, Image, Limits, MediaError, Video, Waveform, decode

faulthandler.enable()
warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
LIMITS = Limits(pixels=20_000_000, frames=8, seconds=120)
data = os.environ["POLYFUSE_TEST_DATA"]
results = []

def check(medium):
    if isinstance(medium, Image):
        assert medium.pixels.dtype == np.uint8 and medium.pixels.ndim == 3
        assert medium.pixels.shape[2] == 3 and 0 < medium.pixels.size <= 3 * LIMITS.pixels
    elif isinstance(medium, Waveform):
        assert medium.samples.dtype == np.float32 and medium.samples.ndim == 1
        assert np.isfinite(medium.samples).all()
        assert 0 < len(medium.samples) <= LIMITS.seconds * medium.rate
    else:
        assert 0 < len(medium.frames) == len(medium.times) <= LIMITS.frames
        assert medium.times == tuple(sorted(medium.times)) and medium.times[0] == 0.0
        for part in (*medium.frames, *([medium.sound] if medium.sound else [])):
            check(part)

def attempt(raw, kind):
    start = time.perf_counter()
    message = None
    try:
        check(decode(raw, kind, LIMITS, frames=FramePolicy() if kind == "video" else None))
        outcome = "ok"
    except MediaError as error:
        outcome, message = error.reason.value, error.message
    return {"outcome": outcome, "message": message, "seconds": time.perf_counter() - start}
"""

MALFORMED = """
with open(data + "/malformed/manifest.csv", newline="") as file:
    rows = {row["path"]: row for row in csv.DictReader(file)}
with tarfile.open(data + "/malformed/malformed.tar") as tar:
    for member in tar:
        if member.isfile():
            row = rows[member.name]
            print(member.name, file=sys.stderr)
            result = attempt(tar.extractfile(member).read(), row["kind"])
            results.append({"path": member.name, "usual": row["usual_reader"], **result})
print(json.dumps(results))
"""

# Cut-offs, flipped bits, zeroed and doubled stretches of intact files.
MUTATIONS = """
random = np.random.default_rng(20)
folders = {
    "image": "/photos/mixed_formats", "audio": "/audio_formats", "video": "/videos",
}
for kind, folder in folders.items():
    with open(data + folder + "/manifest.csv", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file) if int(row["bytes"]) < 150_000]
    for k in range(150):
        path = paths[k % len(paths)]
        with open(data + folder + "/" + path, "rb") as file:
            raw = bytearray(file.read())
        how = k % 4
        at = int(random.integers(len(raw)))
        if how == 0:
            del raw[at:]
        elif how == 1:
            for place in random.integers(0, len(raw), 20):
                raw[place] ^= 1 << int(random.integers(8))
        elif how == 2:
            for place in random.integers(0, min(len(raw), 400), 4):
                raw[place] = int(random.integers(256))
        else:
            raw[at:at + 200] = raw[at:at + 200] * 2
        print(kind, path, k, file=sys.stderr)
        results.append({"path": f"{path} {k}", **attempt(bytes(raw), kind)})
print(json.dumps(results))
"""


def run(script: str) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script],
        capture_output=True,
        timeout=240,
        env=dict(os.environ),
    )
    tail = done.stderr.decode(errors="replace")[-2000:]
    assert done.returncode == 0, (
        f"the decoder process ended with {done.returncode}; last files:\n{tail}"
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def malformed(data):
    return run(MALFORMED)


def test_every_malformed_file_is_survived(malformed):
    assert len(malformed) == 683
    outcomes = Counter(result["outcome"] for result in malformed)
    assert set(outcomes) <= {
        *(
            "ok",
            "EMPTY",
            "TOO_LARGE",
            "BOMB",
            "UNSUPPORTED",
            "BAD_FORMAT",
            "DECODE_ERROR",
            "NON_FINITE",
        )
    }


def test_what_usual_readers_reject_is_rarely_accepted(malformed):
    accepted = [r["path"] for r in malformed if r["usual"] == "fails" and r["outcome"] == "ok"]
    assert len(accepted) <= 10, accepted


def test_what_usual_readers_accept_is_mostly_accepted(malformed):
    outcomes = [result["outcome"] for result in malformed if result["usual"] == "reads it"]
    assert outcomes.count("ok") >= 0.9 * len(outcomes)


def test_messages_are_for_people(malformed):
    for result in malformed:
        if result["outcome"] != "ok":
            assert 0 < len(result["message"]) <= 400, result
            assert " at 0x" not in result["message"], result
            assert "/tmp" not in result["message"], result


def test_mutations_of_good_files(data):
    assert len(run(MUTATIONS)) == 450
