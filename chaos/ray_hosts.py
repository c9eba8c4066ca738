"""A Ray cluster whose nodes are hosts of their own (`chaos.namespaces`), on which to run polyfuse.

Tokens are on. Ray is told to notice within seconds what it would notice within a minute.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Self

from chaos.namespaces import Host, Switch

_ROOT = Path(__file__).resolve().parents[1]
_RAY_START = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats"]
_PORT = 6379
_PATIENCE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "2",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}


class RayHosts:
    """A head that does no work, and as many workers of one CPU as are added: a context manager."""

    def __init__(self, folder: Path) -> None:
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment = {**os.environ, **token, **_PATIENCE, "PYTHONPATH": str(_ROOT)}
        self.switch = Switch(folder)
        self.head = self.switch.host("head")
        self.workers: dict[str, Host] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.switch.end()

    @property
    def address(self) -> str:
        """What `--address` takes."""
        return f"{self.head.address}:{_PORT}"

    def start(self, *workers: str, **environment: str) -> None:
        """The head, unless its Ray is up, then workers side by side; on new hosts where the old ones
        have ended. environment: for Ray on these workers."""
        if not self.head.alive:
            self.head = self.switch.host("head")
        if not any("gcs_server" in line for line in self.head.processes().values()):
            options = ("--head", f"--port={_PORT}", "--num-cpus=0", "--include-dashboard=false")
            _finish(self._ray(self.head, *options))
        starting = []
        for name in workers:
            if name not in self.workers or not self.workers[name].alive:
                self.workers[name] = self.switch.host(name)
            options = (f"--address={self.address}", "--num-cpus=1")
            starting.append(self._ray(self.workers[name], *options, **environment))
        for process in starting:
            _finish(process)

    def polyfuse(self, worker: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start `polyfuse ARGUMENTS --address ...` on the host of a worker; its two outputs as one."""
        command = [sys.executable, "-m", "jobs.cli", *arguments, "--address", self.address]
        return self._popen(self.workers[worker], command)

    def _ray(self, host: Host, *options: str, **environment: str) -> "subprocess.Popen[str]":
        own = f"--node-ip-address={host.address}"
        return self._popen(host, [*_RAY_START, own, *options], **environment)

    def _popen(self, host: Host, command: list[str], **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            host.command(*command),
            cwd=_ROOT,
            env={**self.environment, **environment},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def _finish(process: "subprocess.Popen[str]") -> None:
    said, _ = process.communicate(timeout=120)
    if process.returncode:
        raise RuntimeError(f"ray start: {said}")
