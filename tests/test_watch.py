"""The watching command: its driver's end is explained, signals reach it, nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpus import write_corpus

from chaos.kills import start
from chaos.processes import descendants
from pipeline.verify import verify

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parent.parent


def wait_for(process: subprocess.Popen, what: str) -> int:
    """The pid of a process below this one whose command line has these words."""
    for _ in range(600):
        for pid, line in descendants(process.pid):
            if what in line:
                return pid
        time.sleep(0.1)
    raise AssertionError(f"no {what} came up")


@pytest.fixture
def config(tmp_path):
    return write_corpus(tmp_path, records=240)


def test_a_driver_that_is_killed_is_a_sentence_and_the_same_command_continues(config):
    process = start(config)
    os.kill(wait_for(process, "jobs.cli"), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"ended without a word (SIGKILL)" in output
    again = start(config)
    output, _ = again.communicate(timeout=200)
    assert again.returncode == 0, output.decode()
    assert verify(config.parent / "run").problems == []


def test_a_killed_command_takes_its_driver_along(config):
    process = start(config)
    driver = wait_for(process, "jobs.cli")
    process.kill()
    process.wait()
    for _ in range(100):
        if not Path(f"/proc/{driver}").exists():
            return
        time.sleep(0.1)
    raise AssertionError("the driver lives on")


def interrupted(config: Path, when: str) -> None:
    """Interrupt a command once a process of that name has come up."""
    # In a shell's background job SIGINT is ignored; a terminal's is not.
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "run", str(config)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    wait_for(process, when)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output.decode()
    assert b"stopped; what is done is kept" in output
    assert b"Traceback" not in output


def test_an_interrupt_stops_with_a_sentence_and_gives_the_lease_back(config):
    interrupted(config, "RayWorker")
    (lease,) = (config.parent / "run" / "lease").iterdir()
    assert b'"released": true' in lease.read_bytes()


def test_an_interrupt_while_ray_starts_leaves_nothing(config):
    interrupted(config, "gcs_server")
    assert not (config.parent / "run").exists()


@pytest.mark.parametrize("driver", [True, False])
def test_an_end_gives_the_code_and_does_what_is_registered_for_it(driver):
    code = (
        "import atexit, jobs.watch as w; atexit.register(print, 'done'); print('said'); w.leave(3)"
    )
    environment = os.environ | ({"POLYFUSE_DRIVER": str(os.getpid())} if driver else {})
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "said\ndone\n", "")
