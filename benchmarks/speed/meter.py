"""A command in a fresh process, watched with everything it starts: time, CPU, memory."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import ROOT
from benchmarks.speed import processor
from chaos.processes import descendants

_STEP = 0.25  # seconds between looks: each takes 4 ms of a core from what is watched
_GROWTH = 1.05  # memory is added up exactly when the cheap sum has grown by so much
_TICK, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
_REASON = 300
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")
# Threads of a shell would be those of every pool; the peers are measured with what they choose.
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM")


@dataclass(frozen=True)
class Usage:
    """seconds: from the start to the end; cpu: seconds of all processes; peak: bytes of all of
    them together, shared pages counted once; load: of the machine right before; products: GFLOP/s of
    one core in bf16 right before; failure: the end of what it said, where it failed."""

    seconds: float
    cpu: float
    peak: int
    load: float
    products: float
    failure: str = ""


def measure(
    command: Sequence[str], log: Path, *, timeout: float, path: Sequence[Path] = ()
) -> Usage:
    """Run it to its end, or kill it with all it has started. path: for Python, beside this checkout."""
    load, products, tree = os.getloadavg()[0], processor.products(), _Tree()
    started = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(path), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            while process.poll() is None and time.perf_counter() - started < timeout:
                tree.look(process.pid)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_STEP)
            seconds = time.perf_counter() - started
        finally:  # it may hang, we may be interrupted, and Ray's processes may outlive their driver
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    failure = ""
    if seconds >= timeout:
        failure = f"not done after {timeout:.0f} s"
    elif code:
        said = log.read_text(encoding="utf-8", errors="replace").strip()
        lines = said.splitlines() or [f"exit code {code}"]
        named = [place for place, line in enumerate(lines) if _ERROR.match(line)]
        place = named[-1] if named else len(lines) - 1  # advice may follow it
        more = lines[place].rstrip().endswith(":")  # it says what on the next line
        failure = " ".join(" ".join(lines[place : place + 1 + more]).split())[:_REASON]
    return Usage(
        round(seconds, 3), round(sum(tree.cpu.values()), 2), tree.peak, load, products, failure
    )


def _environment(path: Sequence[Path]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _POOLS}
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DO_NOT_TRACK": "1"}
    return kept | quiet | {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}


class _Tree:
    """What a process and all below it have used, as far as looking now and then shows it."""

    def __init__(self) -> None:
        self.cpu: dict[tuple[int, str], float] = {}  # by pid and start: a pid may come again
        self.peak = 0
        self._highest = 0.0

    def look(self, pid: int) -> None:
        pids = [pid, *(child for child, _ in descendants(pid))]
        resident = 0
        for one in pids:
            # Fields after the name, which may hold spaces: utime 14, stime 15, start 22, rss 24.
            stat = _read(f"/proc/{one}/stat").rpartition(")")[2].split()
            if len(stat) > 21:
                self.cpu[one, stat[19]] = (int(stat[11]) + int(stat[12])) / _TICK
                resident += int(stat[21]) * _PAGE
        if resident > self._highest * _GROWTH:
            self._highest = resident
            self.peak = max(self.peak, sum(map(_proportional, pids)))


def _proportional(pid: int) -> int:
    """Bytes in memory, each shared page divided by those who share it."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has just ended
        return ""
