"""Whoever does not hold the token can't submit a job, and the dashboard is on loopback alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parent.parent
TOKEN = "f" * 64


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_options() -> list[str]:
    """The options of `ray start` on the head, as cluster.yaml has them."""
    commands = yaml.safe_load((ROOT / "cluster.yaml").read_text())["head_start_ray_commands"]
    (command,) = (line for line in commands if "ray start" in line)
    assert command.startswith("RAY_AUTH_MODE=token ray start")
    skipped = ("--port", "--autoscaling-config")
    return [w for w in command.split()[3:] if w.startswith("--") and not w.startswith(skipped)]


@pytest.fixture(scope="module")
def dashboard():
    """The address of the dashboard of a head that was started as cluster.yaml says."""
    port = free_port()
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t-") as folder:
        environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN,
                       "RAY_TMPDIR": folder}  # fmt: skip
        ours = [f"--port={free_port()}", f"--dashboard-port={port}", "--num-cpus=1", "--block",
                f"--dashboard-agent-listen-port={free_port()}", "--disable-usage-stats"]  # fmt: skip
        program = str(Path(sys.executable).parent / "ray")
        with (Path(folder) / "said").open("w") as said:
            head = subprocess.Popen(
                [program, "start", *start_options(), *ours], env=environment, stdout=said,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            for _ in range(120):
                if ask(port, "/api/version")[0] != 0:
                    break
                time.sleep(0.5)
            yield port
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def ask(port: int, path: str, body: dict | None = None, token: str | None = None):
    """(status, text); 0 where nobody listens."""
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        return err.code, err.read().decode()
    except OSError:
        return 0, ""


def test_a_job_without_the_token_is_refused_and_with_it_taken(dashboard, tmp_path):
    canary = tmp_path / "canary"
    job = {"entrypoint": f"touch {canary}"}
    for token in (None, "", "0" * 64, TOKEN[:-1]):
        status, text = ask(dashboard, "/api/jobs/", job, token)
        assert status in (401, 403), (token, status, text)
    assert ask(dashboard, "/api/jobs/")[0] in (401, 403)
    status, text = ask(dashboard, "/api/jobs/", job, TOKEN)
    assert status == 200, text
    for _ in range(120):
        if canary.exists():
            break
        time.sleep(0.5)
    assert canary.exists(), "the same job runs with the token"


def test_the_dashboard_listens_on_loopback_alone(dashboard):
    """As the kernel lists what listens: address and port in hexadecimal digits."""
    found = set()
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        places = (line.split()[1].split(":") for line in lines if line.split()[3] == "0A")
        found |= {address for address, port in places if int(port, 16) == dashboard}
    assert found == {"0100007F"}, "127.0.0.1"
