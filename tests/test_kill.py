"""SIGKILL at random moments of real runs: rerunning gives the bytes of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpus import part_bytes, write_corpus
from processes import descendants

from pipeline.verify import verify

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
KILLS = 10
ROOT = Path(__file__).resolve().parent.parent


def start(config: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "jobs.cli", "run", str(config)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def kill(process: subprocess.Popen, what: str) -> bool:
    """Kill the driver, or one worker that runs our actor; False where there is none (yet)."""
    below = descendants(process.pid)
    drivers = [pid for pid, line in below if "jobs.cli" in line][:1]
    workers = [pid for pid, line in below if line.startswith("ray::") and "RayWorker" in line]
    target = drivers if what == "driver" else workers
    if not target:
        return False
    os.kill(target[-1], signal.SIGKILL)
    return True


def test_kills_at_random_moments_change_no_byte(tmp_path):
    dice = random.Random(0)
    config = write_corpus(tmp_path / "kill", records=240)
    killed = {"driver": 0, "worker": 0}
    for _ in range(8 * KILLS):
        if sum(killed.values()) >= KILLS and min(killed.values()) >= 3:
            break
        process = start(config)
        what = "worker" if killed["worker"] <= killed["driver"] else "driver"
        # A driver dies at any moment of its life; a worker some time after it has come up.
        time.sleep(dice.uniform(1.0, 12.0) if what == "driver" else 0)
        deadline = time.monotonic() + 40
        wanted = 1 if what == "driver" else 3
        while process.poll() is None and time.monotonic() < deadline and wanted:
            if kill(process, what):
                killed[what] += 1
                wanted -= 1
                time.sleep(dice.uniform(0.5, 3.0))
            time.sleep(dice.uniform(0.02, 0.4))
        if what == "driver":
            process.wait(timeout=60)
        else:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0, output.decode()
        if process.returncode == 0:  # it got to the end: start over for the next kill
            _forget(tmp_path / "kill" / "run")
    assert sum(killed.values()) >= KILLS, killed

    for folder in ("kill", "calm"):
        if folder == "calm":
            config = write_corpus(tmp_path / "calm", records=240)
        process = start(tmp_path / folder / "run.yaml")
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output.decode()
    assert part_bytes(tmp_path / "kill" / "run") == part_bytes(tmp_path / "calm" / "run")
    audit = verify(tmp_path / "kill" / "run")
    assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)


def _forget(run: Path) -> None:
    """Half of the markers, so that the next command has work; the parts stay as garbage."""
    for marker in sorted((run / "ledger").rglob("*.json"))[::2]:
        marker.unlink()
