"""SIGKILL of every kind of process at random moments of real runs; the same command ends the work.

    python -m chaos.kills [--kills 500] [--seed 0]      writes docs/results/kills.json and .md

Killed are the driver, the workers, the raylet and the GCS of Ray, and whoever builds an index. A
worker or builder that dies must not be noticed; after the others the command says in a sentence what
happened, and the next one goes on. A moment is counted in names that come up in the ledger, so that
it lies in the work whatever the machine is busy with, or in seconds while Ray comes up and an index
is built.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.results import ROOT, about, footer, load, save, write_page
from chaos import corpus, sound
from chaos.notices import Notices
from chaos.processes import descendants

NAME = "kills"
# What is killed, and what its command line has in it.
TARGETS = {
    "driver": "jobs.cli",
    "worker": "MapWorker(MapBatches(RayWorker))",
    "raylet": "/raylet/raylet ",
    "gcs": "/gcs/gcs_server ",
    "builder": "_build_one",
}
FATAL = ("driver", "raylet", "gcs")  # to the command
STAGES = ("start", "work", "index")  # where the fatal kill comes
RECORDS, WORKERS, PATIENCE = 480, 2, 600.0
INDEXES = ("title", "photo", "sound", "concat")
UNITS = 5  # of a shard: three modalities, the records, the fused vectors
NAMES = 3  # that come up in the ledger for each unit, on average
# In one command, which gives up when the same unit dies too often: five times, or three of an index.
MOST = {"worker": 16, "builder": 2}
STALLED, TRIES = "can't start Ray here", 5  # Ray gives a start half a minute
# Seconds that Ray comes up, that a builder lives, and that it writes.
STARTING, BUILDING, WRITING = 5.0, 0.5, 0.03
# Ray itself would wait a minute for a head that is gone.
ENVIRONMENT = {**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "2"}


@dataclass
class Found:
    """What happened. killed: (what, stage) -> times; redone: shards begun again after a kill."""

    killed: Counter[tuple[str, str]] = field(default_factory=Counter)
    commands: int = 0
    stalled: int = 0  # commands that said that Ray did not come up: the machine was too busy
    redone: int = 0
    enough: bool = False  # kill no more, look at what there is
    problems: list[str] = field(default_factory=list)

    def times(self, what: str) -> int:
        """How often one kind was killed."""
        return sum(self.killed[what, stage] for stage in STAGES)

    @property
    def in_flight(self) -> int:
        """Shards that can have been in work at the kills: a worker has one, nobody when indexes are built."""
        heads = sum(self.killed[what, stage] for what in FATAL for stage in ("start", "work"))
        return self.times("worker") + WORKERS * heads


def main() -> None:
    """Kill until so many were killed, or Ctrl-C; ends with an error where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m chaos.kills", description="Kill and compare.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", action="store_true", help="only rewrite the page")
    given = parser.parse_args()
    if not given.tables:
        save(NAME, measure(given.kills, given.seed))
    write_page(NAME, page)
    if problems := load(NAME)["problems"]:
        raise SystemExit("\n".join(problems))


def measure(kills: int, seed: int) -> dict[str, Any]:
    """The numbers of the page."""
    found, started = Found(), time.perf_counter()
    signal.signal(signal.SIGINT, lambda *_: setattr(found, "enough", True))
    with tempfile.TemporaryDirectory() as folder:
        calm = prepare(Path(folder) / "calm")
        _finish(calm, found)
        attacked = prepare(Path(folder) / "attacked")
        attack(attacked, kills, seed, found, print)
        found.problems += sound.compared(attacked.parent / "run", calm.parent / "run")
    command = f"python -m chaos.kills --kills {kills} --seed {seed}"
    return about(NAME, "ray", "pyarrow", "faiss-cpu") | {
        "command": command,
        "load": os.getloadavg()[2],
        "asked": kills,
        "minutes": (time.perf_counter() - started) / 60,
        "records": RECORDS,
        "workers": WORKERS,
        "commands": found.commands,
        "stalled": found.stalled,
        "killed": {
            what: {stage: found.killed[what, stage] for stage in STAGES} for what in TARGETS
        },
        "redone": found.redone,
        "in_flight": found.in_flight,
        "problems": found.problems,
    }


def prepare(folder: Path, records: int = RECORDS) -> Path:
    """A corpus, and the configuration of a run over it."""
    settings = corpus.write(folder, records) | {"workers": WORKERS}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def attack(config: Path, kills: int, seed: int, found: Found, say: Callable[[str], None]) -> None:
    """Kill so many processes, each kind at least twice, then let a command end the work and look."""
    attacker, least = _Attacker(config, random.Random(seed), found), max(2, kills // 25)
    while not (found.problems or found.enough) and (
        found.killed.total() < kills or min(map(found.times, TARGETS)) < least
    ):
        attacker.strike()
        counts = ", ".join(f"{found.times(what)} {what}" for what in TARGETS)
        say(f"{found.killed.total()} killed: {counts}; {len(found.problems)} problems")
    _finish(config, found)
    if found.problems:
        return
    found.redone = attacker.redone()
    if found.redone > found.in_flight:
        found.problems.append(f"{found.redone} shards redone, {found.in_flight} were in flight")
    found.problems += sound.accounted(config.parent / "run", config.parent / "records.csv")
    found.problems += sound.audited(config.parent / "run")


class _Attacker:
    """One run, and command after command on it that is not left in peace."""

    def __init__(self, config: Path, dice: random.Random, found: Found) -> None:
        self.config, self.dice, self.found = config, dice, found
        self.run = config.parent / "run"
        rows = len((config.parent / "records.csv").read_text(encoding="utf-8").splitlines()) - 1
        self.units = UNITS * corpus.shards(rows)
        ledger = self.run / "ledger" / "00000"
        indexes = [self.run / "index" / name for name in INDEXES]
        for folder in (ledger, *indexes):  # to be followed from the first name in it on
            folder.mkdir(parents=True)
        self.ledger, self.index = Notices([ledger]), Notices(indexes)
        self.names: Counter[str] = Counter()  # of attempts and markers of extraction
        self.workers = 0  # yet to be killed in this command

    def redone(self) -> int:
        """Shards whose extraction was begun and not committed: what the kills cost."""
        self._read()
        return self.names["begun"] - self.names["committed"]

    def strike(self) -> None:
        """One command with some kills in it, the last of them fatal."""
        fatal = min(FATAL, key=self.found.times)
        left = self._left()
        if not left and self.dice.random() < 0.5:  # or the last one's indexes are all that is left
            self._undo()
            left = self._left()
        stage = self.dice.choices(STAGES, (1, 2, 2))[0] if left else "index"
        self.workers = self.dice.randint(0, min(MOST["worker"], max(4, left // 4)))
        self._read()
        process = start(self.config)
        before = self.found.killed.copy()
        if stage == "start":
            self._at_start(process, fatal)
        elif stage == "work":
            self._at_work(process, fatal, self.dice.randint(1, NAMES * left))
        else:
            self._at_index(process, fatal)
        output, code = _end(process)
        killed = {what for what, _ in self.found.killed - before}
        self.found.commands += 1
        self.found.stalled += STALLED in output
        problems = list(sound.partial(self.run))
        excused = STALLED in output or not killed.isdisjoint(FATAL)
        if "Traceback" in output or code not in (0, 1) or (code and not excused):
            problems.append(f"exit code {code}\n{output[-2000:]}")
        told = f"after killing {', '.join(sorted(killed)) or 'nothing'}, {stage}"
        self.found.problems += [f"{told}: {problem}" for problem in problems]
        if code == 0:  # it got to the end: something must be left to do for the next one
            self._undo()

    def _at_start(self, process: subprocess.Popen[bytes], fatal: str) -> None:
        """While Ray comes up: anywhere between the fatal one's own start and the first work."""
        while process.poll() is None and not _pids(process, fatal):
            time.sleep(0.02)
        time.sleep(self.dice.uniform(0, STARTING))
        self._kill(process, fatal, "start")

    def _at_work(self, process: subprocess.Popen[bytes], fatal: str, moment: int) -> None:
        """After so many names came up in the ledger."""
        self._harass(process, lambda seen: seen >= moment)
        self._kill(process, fatal, "work")

    def _at_index(self, process: subprocess.Popen[bytes], fatal: str) -> None:
        """While indexes are built, after some of the builders died."""
        self._harass(process, lambda _: bool(_pids(process, "builder")))
        left = self.dice.randint(1, MOST["builder"])
        while process.poll() is None and left:
            left -= self._await_builder(process) and self._kill(process, "builder", "index")
        self._await_builder(process)
        self._kill(process, fatal, "index")

    def _await_builder(self, process: subprocess.Popen[bytes]) -> bool:
        """A random moment in the life of one that builds, or while it writes; False if none comes."""
        self.index.read()
        writing = self.dice.random() < 0.5
        for _ in range(200):
            if self.index.read() if writing else _pids(process, "builder"):
                time.sleep(self.dice.uniform(0, WRITING if writing else BUILDING))
                return True
            time.sleep(0.005)
        return False

    def _harass(self, process: subprocess.Popen[bytes], until: Callable[[int], bool]) -> None:
        """Kill workers now and then until so many names have come up."""
        seen = 0
        while process.poll() is None and not until(seen):
            new = self._read()
            seen += new
            if self.workers and any(self.dice.random() < 0.06 for _ in range(new)):
                self.workers -= self._kill(process, "worker", "work")
            time.sleep(0.002)

    def _kill(self, process: subprocess.Popen[bytes], what: str, stage: str) -> bool:
        """One process of a kind, if there is one now; whether there was."""
        pids = _pids(process, what)
        if pids:
            with suppress(ProcessLookupError):
                os.kill(self.dice.choice(pids), signal.SIGKILL)
                self.found.killed[what, stage] += 1
                return True
        return False

    def _read(self) -> int:
        """How many names came up in the ledger since the last call."""
        names = self.ledger.read()
        for name in names:
            if "-extract." in name:
                self.names["committed" if name.endswith(".json") else "begun"] += 1
        return len(names)

    def _left(self) -> int:
        """Units without a marker."""
        return self.units - sum(1 for _ in (self.run / "ledger").rglob("*.json"))

    def _undo(self) -> None:
        """Forget most of the markers and indexes; the parts stay as garbage."""
        for folder, pattern in (("ledger", "*.json"), ("index", "current.json")):
            for path in sorted((self.run / folder).rglob(pattern)):
                if self.dice.random() < 0.8:
                    path.unlink()


def _pids(process: subprocess.Popen[bytes], what: str) -> list[int]:
    """The processes of one kind that a command has now."""
    found = [pid for pid, line in descendants(process.pid) if TARGETS[what] in line]
    # What Ray starts looks like the driver until it has become what it will be.
    return found[:1] if what == "driver" else found


def start(config: Path) -> subprocess.Popen[bytes]:
    """`polyfuse run`, in a session of its own, its output in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "run", str(config)], cwd=ROOT, env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> tuple[str, int]:
    """Output and exit code of a command; one that hangs is a finding of its own."""
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return f"hung for {PATIENCE:.0f} s\n{output.decode(errors='replace')}", -1
    return output.decode(errors="replace"), process.returncode


def _finish(config: Path, found: Found) -> None:
    """Let commands end the work, undisturbed."""
    for _ in range(TRIES):
        output, code = _end(start(config))
        if STALLED not in output:
            break
        found.stalled += 1
    if code:
        found.problems.append(f"undisturbed, exit code {code}\n{output[-2000:]}")


def page(results: Mapping[str, Any]) -> str:
    """docs/results/kills.md."""
    killed = {what: list(stages.values()) for what, stages in results["killed"].items()}
    total = sum(map(sum, killed.values()))
    early = f" Stopped before the {results['asked']} asked for." if total < results["asked"] else ""
    lines = [
        "# Kills: processes that die at random moments of real runs",
        "",
        f"{total} processes killed with SIGKILL in {results['commands']} commands on one run "
        f"({results['records']} records, {results['workers']} workers), in {results['minutes']:.0f} "
        f"minutes (load {results['load']:.1f}): {len(results['problems'])} problems. In "
        f"{results['stalled']} starts Ray did not come up within its half minute on the busy "
        f"machine, and the command said so.{early}",
        "",
        "A problem would be: a traceback; a command that hung, or did not outlive a worker or builder; "
        "a file that a reader finds and can't read, looked for after every command; at the end a "
        "record lost or there twice, a part or an index (vectors and ids) whose bytes are not those "
        "of a run that nobody disturbed, a finding of the audit, a file left over.",
        "",
        "| killed | while Ray comes up | in the work | at the index | times |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {what} | {' | '.join(map(str, stages))} | {sum(stages)} |"
            for what, stages in killed.items()
        ),
        "",
        f"Work done again: {results['redone']} shards were begun and not committed; at most "
        f"{results['in_flight']} were in work at the kills (one of a worker, {results['workers']} of "
        "a driver, raylet or GCS before the index).",
    ]
    return "\n".join([*lines, *footer(results, "chaos/kills.py")]) + "\n"


if __name__ == "__main__":
    main()
