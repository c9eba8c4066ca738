"""Bombs: whatever a file claims, it is refused from what is there, and memory stays flat."""

import json
import subprocess
import sys
from pathlib import Path

import bombs
import pytest

from encoders.media import Limits
from encoders.media.errors import MediaError, Reason
from pipeline.isolate import Disposable

ROOT = Path(__file__).resolve().parent.parent
# Beyond what the decoders themselves take. One picture of the limit would be 534 MB.
MOST = 64 << 20

# One process, and the kernel's own account of its peak, which can be begun anew.
CHILD = """
import json, re, resource, sys, time
sys.path[:0] = ["tests", "."]
import bombs
from encoders.media import FramePolicy, Limits, MediaError, decode
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

def status(key):
    return int(re.search(key + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10

def attempt(kind, raw):
    started = time.perf_counter()
    try:
        decode(raw, kind, Limits(), frames=FramePolicy() if kind == "video" else None)
        outcome = "decoded"
    except MediaError as err:
        outcome = err.reason.value
    return outcome, time.perf_counter() - started

everything = bombs.all_of_them()
for kind, raw in list(everything.values())[:1] + [(k, b"x") for k in ("audio", "video")]:
    attempt(kind, raw)  # the libraries are loaded
found = {}
for name, (kind, raw) in everything.items():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    outcome, seconds = attempt(kind, raw)
    found[name] = [outcome, status("VmHWM") - before, seconds]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_there_are_fifty(found):
    assert len(found) >= 50


# What stands in them is small and right; only what lies beside it is a bomb.
HARMLESS = {"wav 4 GB", "rf64 of 2^60",  # a stream of unknown length: what is there counts
            "png zTXt", "png iTXt", "png iCCP", "png many texts", "png text", "png pixels inflate",
            "apng frames", "ico 65535 pictures", "tiff many tags", "tiff circle"}  # fmt: skip


def test_none_of_them_is_decoded(found):
    decoded = {name for name, (outcome, _, _) in found.items() if outcome == "decoded"}
    assert decoded <= HARMLESS


def test_memory_stays_flat(found):
    large = {name: peak >> 20 for name, (_, peak, _) in found.items() if peak > MOST}
    assert large == {}


def test_what_claims_too_many_pixels_is_called_a_bomb(found):
    kinds = {name: kind for name, (kind, _) in bombs.all_of_them().items()}
    claims = [name for name in found if " size" in name and kinds[name] == "image"]
    assert len(claims) >= 10
    reasons = {name: found[name][0] for name in claims}
    assert set(reasons.values()) <= {Reason.BOMB, Reason.DECODE_ERROR}, reasons
    assert list(reasons.values()).count(Reason.BOMB) >= 10, reasons


def test_memory_that_is_taken_all_the_same_ends_at_the_cap_of_the_disposable_process():
    """The second wall: a limit that was raised too far costs the medium, not the machine."""
    kind, raw = bombs.all_of_them()["tiff deflate"]
    tool = Disposable(Limits(pixels=10**12, item_timeout=60))
    try:
        with pytest.raises(MediaError) as caught:
            tool.decode(bombs.all_of_them()["ppm size"][1], "image", None, False)
        assert caught.value.reason in (Reason.OOM, Reason.BOMB, Reason.DECODE_ERROR)
        with pytest.raises(MediaError):
            tool.decode(raw, kind, None, False)
    finally:
        tool.close()
