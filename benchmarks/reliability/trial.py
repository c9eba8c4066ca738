"""One system, one attack: what is left when its user has done what a user does."""

import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.reliability.corpus import RECORDS
from benchmarks.reliability.systems import VARIABLES, System
from benchmarks.results import ROOT
from chaos.notices import OPENED, Notices
from chaos.processes import descendants

RERUNS, PATIENCE = 3, 600.0
_LAG = 0.3  # seconds at most between the picture that was waited for and the kill


@dataclass
class Outcome:
    """What became of the records of one trial.

    struck: what was killed; commands: how many it took; code: of the last one, None where it hung.
    partial: unreadable files right after the kills; the rest is counted when the user is done.
    """

    struck: list[str] = field(default_factory=list)
    commands: int = 1
    code: int | None = 0
    partial: int = 0
    lost: int = 0
    duplicated: int = 0
    unreadable: int = 0


def killed(system: System, corpus: Path, dice: random.Random) -> Outcome:
    """Kill a worker, then the program, at random moments; run it again until it ends well."""
    with tempfile.TemporaryDirectory() as folder:
        output, outcome = Path(folder, "output"), Outcome()
        process = _start(system, corpus, output)
        outcome.struck = _strike(process, system, corpus, dice)
        outcome.code = _end(process)
        outcome.partial = len(_read(system, output)[1])
        while outcome.code != 0 and outcome.commands <= RERUNS:
            outcome.code = _end(_start(system, corpus, output))
            outcome.commands += 1
        found, broken = _read(system, output)
        wanted = Counter(f"r{number:04d}" for number in range(RECORDS))
        outcome.lost, outcome.duplicated = (wanted - found).total(), (found - wanted).total()
        outcome.unreadable = len(broken)
    return outcome


def corrupted(system: System, corpus: Path, bad: set[str]) -> dict[str, Any]:
    """Run it over broken pictures, twice if it fails; who is there, who is explained."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output")
        code = _end(_start(system, corpus, output))
        if code != 0:
            code = _end(_start(system, corpus, output))
        found, broken = _read(system, output)
        return {
            "code": code,
            "good": len(found.keys() - bad),
            "duplicated": found.total() - len(found),
            "explained": len(system.explained(output) & bad),
            "unreadable": len(broken),
        }


def _start(system: System, corpus: Path, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        system.command(corpus, output), cwd=ROOT, env=VARIABLES, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _strike(
    process: subprocess.Popen[bytes], system: System, corpus: Path, dice: random.Random
) -> list[str]:
    """Kill after as many pictures were opened, by whichever worker; what was there to be killed."""
    wanted = ["worker", "program"] if system.worker else ["program"]
    moments = sorted(dice.randint(1, RECORDS) for _ in wanted)
    opened, seen, struck = Notices([corpus / "media"], OPENED), 0, []
    for what, moment in zip(wanted, moments, strict=True):
        while process.poll() is None and seen < moment:
            seen += len(opened.read())
            time.sleep(0.002)
        time.sleep(dice.uniform(0, _LAG))
        victims = _victims(process, system, what)
        if victims and process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(dice.choice(victims), signal.SIGKILL)
                struck.append(what)
    opened.close()
    return struck


def _victims(process: subprocess.Popen[bytes], system: System, what: str) -> list[int]:
    below = descendants(process.pid)
    if what == "worker":
        return [pid for pid, line in below if system.worker and system.worker in line]
    # polyfuse watches its driver from another process: the driver is what does the work.
    drivers = [pid for pid, line in below if "jobs.cli" in line]
    return drivers[:1] or [process.pid]


def _end(process: subprocess.Popen[bytes]) -> int | None:
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        code = None
    with suppress(
        ProcessLookupError
    ):  # Ray's own processes live a little longer than a killed driver
        os.killpg(process.pid, signal.SIGKILL)
    return code


def _read(system: System, output: Path) -> tuple[Counter[str], list[Path]]:
    """The ids that have a vector, over every file that a reader of the folder finds; and the broken files."""
    found: Counter[str] = Counter()
    broken = []
    for path in sorted((output / system.vectors).rglob("*.parquet")):
        if path.name.startswith((".", "_")):  # hidden from every reader of Parquet folders
            continue
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException):
            broken.append(path)
            continue
        key = "id" if "id" in table.column_names else "record_id"
        found.update(table.filter(table["vector"].is_valid())[key].to_pylist())
    return found, broken
