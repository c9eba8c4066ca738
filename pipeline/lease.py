"""One writer at a time: RUN/lease/<epoch>.json, created exclusively, renewed by a heartbeat.

A new writer takes the next epoch. Workers live for seconds after their driver is killed, and a
partitioned node for longer; before they commit they look whether a later epoch exists, and if so
they stop. The lease of a process that is dead on this machine is taken over at once, one of
another machine when its heartbeat has been still for `STALE` seconds.
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import PolyfuseError, Refused

HEARTBEAT = 10.0
STALE = 60.0


@dataclass(frozen=True)
class Lease:
    """The right to write to a run. Picklable: workers carry it to check it."""

    run: Path
    epoch: int

    def check(self) -> None:
        """Raise Refused when a later epoch exists."""
        if self.path(self.epoch + 1).exists():
            raise Refused(
                f"{self.run}: another writer took over (epoch {self.epoch + 1}, this one has "
                f"{self.epoch}); nothing of this writer is committed any more"
            )

    def path(self, epoch: int) -> Path:
        """The file of an epoch."""
        return self.run / "lease" / f"{epoch:07d}.json"


class Holder:
    """Acquires the lease, keeps its heartbeat going, releases it: a context manager."""

    def __init__(self, run: Path) -> None:
        self.lease = Lease(run, _take(run))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def __enter__(self) -> Lease:
        return self.lease

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        path = self.lease.path(self.lease.epoch)
        files.publish(path, files.to_json({**_owner(), "released": True}))

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            with contextlib.suppress(OSError, PolyfuseError):  # the next one may get through
                files.touch(self.lease.path(self.lease.epoch))


@dataclass(frozen=True)
class _Owner:
    """Who holds a lease, as its file says."""

    host: str
    pid: int
    started: str
    released: bool = False


def _take(run: Path) -> int:
    names = [name for name in files.names(run / "lease") if name[0].isdigit()]
    epoch = int(names[-1].removesuffix(".json")) if names else 0
    while Lease(run, epoch + 1).path(epoch + 1).exists():  # a listing may lag
        epoch += 1
    path = Lease(run, epoch).path
    if epoch:
        _refuse_if_alive(run, path(epoch))
    mine = files.to_json({**_owner(), "token": uuid.uuid4().hex})  # no two writers write the same
    if not files.create(path(epoch + 1), mine):
        raise Refused(f"{run}: another writer started at the same moment; try again")
    return epoch + 1


def _refuse_if_alive(run: Path, path: Path) -> None:
    owner = files.read_as(_Owner, path, "remove it if no command is at work on this run")
    if owner.released:
        return
    here = owner.host == socket.gethostname()
    quiet = time.time() - path.stat().st_mtime
    if here and _started(owner.pid) != owner.started:
        return  # that process is gone
    if not here and quiet > STALE:
        return
    raise Refused(
        f"{run}: process {owner.pid} on {owner.host} is writing to it "
        f"(last sign {quiet:.0f} s ago); wait for it or stop it, then run the same command again"
    )


def _owner() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": _started(pid)}


def _started(pid: int) -> str:
    """When a process of this machine began, in clock ticks since boot; "" where there is none.

    A number may be given to a new process, so the pid alone does not say who lives.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except OSError:
        return "" if Path("/proc/self").exists() else _alive(pid)


def _alive(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "alive"
