"""SIGKILL of every kind of process at random moments of real runs; the same command ends the work.

    python -m chaos.kills [--kills 500] [--seed 0]      writes docs/results/kills.md

Killed are the driver, a worker, the raylet and the GCS of Ray, and whoever builds an index. A worker
or builder that dies must not be noticed; after the others the command says in a sentence what
happened, and the next one goes on. At the end: the bytes of every part and index are those of a run
that nobody disturbed, and the audit finds nothing.
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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.results import RESULTS, ROOT, about, footer
from chaos import corpus
from chaos.processes import descendants
from pipeline import files
from pipeline.verify import verify

# What is killed, and what its command line has in it.
TARGETS = {
    "driver": "jobs.cli",
    "worker": "RayWorker",
    "raylet": "/raylet/raylet",
    "gcs": "gcs_server",
    "builder": "_build_one",
}
SURVIVED = {"worker", "builder"}  # by the command that they worked for
RECORDS, PATIENCE = 160, 120.0
# Ray itself would wait a minute for a head that is gone.
ENVIRONMENT = {**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "2"}


@dataclass
class Found:
    """What happened."""

    killed: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)  # nobody there to kill in time
    problems: list[str] = field(default_factory=list)


def main() -> None:
    """Kill until so many were killed; ends with an error where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m chaos.kills", description="Kill and compare.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = attack(Path(folder), given.kills, given.seed, say=print)
    text = page(found, given, time.perf_counter() - started)
    (RESULTS / "kills.md").write_text(text, encoding="utf-8")
    print(RESULTS / "kills.md")
    if found.problems:
        raise SystemExit("\n".join(found.problems))


def attack(folder: Path, kills: int, seed: int, say: Callable[[str], None]) -> Found:
    """Kill so many processes, each kind as often as any other, then compare with a calm run."""
    dice, found = random.Random(seed), Found()
    attacked, calm = (_config(folder / name) for name in ("attacked", "calm"))
    _finish(calm, found)
    while found.killed.total() < kills and found.missed.total() < 3 * kills and not found.problems:
        what = min(TARGETS, key=lambda name: (found.killed[name], found.missed[name], name))
        _strike(attacked, what, dice, found)
        say(f"killed {dict(found.killed)}, not there in time {dict(found.missed)}")
    _finish(attacked, found)
    runs = [config.parent / "run" for config in (attacked, calm)]
    if contents(runs[0]) != contents(runs[1]):
        found.problems.append("the bytes are not those of an undisturbed run")
    audit = verify(runs[0])
    found.problems += audit.problems + audit.garbage
    return found


def _strike(config: Path, what: str, dice: random.Random, found: Found) -> None:
    """One command, one kill at a random moment after the target has come up."""
    process = start(config)
    while process.poll() is None:
        targets = [pid for pid, line in descendants(process.pid) if TARGETS[what] in line]
        if targets:
            time.sleep(dice.uniform(0, 3.0 if what != "builder" else 0.2))
            try:
                os.kill(dice.choice(targets), signal.SIGKILL)
            except ProcessLookupError:
                break
            found.killed[what] += 1
            break
        time.sleep(0 if what == "builder" else 0.05)  # an index is built in no time
    else:
        found.missed[what] += 1
    code, output = _end(process)
    if "Traceback" in output or (what in SURVIVED and code) or code not in (0, 1):
        found.problems.append(f"after killing the {what}: exit code {code}\n{output[-2000:]}")
    if code == 0:  # it got to the end: something must be left to do for the next one
        _undo(config.parent / "run", dice)


def _undo(run: Path, dice: random.Random) -> None:
    """Forget half of the markers and an index; the parts stay as garbage."""
    for marker in sorted((run / "ledger").rglob("*.json")):
        if dice.random() < 0.5:
            marker.unlink()
    for pointer in (run / "index").glob("*/current.json"):
        if dice.random() < 0.5:
            pointer.unlink()


def _config(folder: Path) -> Path:
    settings = corpus.write(folder, RECORDS)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def start(config: Path) -> subprocess.Popen[bytes]:
    """`polyfuse run`, in a session of its own, its output in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "run", str(config)], cwd=ROOT, env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code and output of a command; one that hangs is a finding of its own."""
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return -1, f"hung for {PATIENCE:.0f} s\n{output.decode(errors='replace')}"
    return process.returncode, output.decode(errors="replace")


def _finish(config: Path, found: Found) -> None:
    code, output = _end(start(config))
    if code:
        found.problems.append(f"undisturbed, exit code {code}\n{output[-2000:]}")


def contents(run: Path) -> dict[str, bytes]:
    """Every part, and of every index the rows with their ids; a graph linked by several threads differs."""
    found = {
        path.relative_to(run).as_posix(): path.read_bytes()
        for top in ("records", "errors", "features", "fused")
        for path in (run / top).rglob("*.parquet")
    }
    for pointer in (run / "index").glob("*/current.json"):
        version = pointer.parent / files.read_json(pointer)["version"]
        found[pointer.parent.name] = (version / "rows.parquet").read_bytes()
    return found


def page(found: Found, given: argparse.Namespace, seconds: float) -> str:
    """docs/results/kills.md."""
    lines = [
        "# Kills: processes that die at random moments of real runs",
        "",
        f"{found.killed.total()} processes killed with SIGKILL in {seconds / 60:.0f} minutes; "
        f"{len(found.problems)} problems: a traceback, a command that hung or",
        "did not outlive a worker, bytes or ids that differ from those of an undisturbed run, a finding "
        "of the audit.",
        "",
        "| killed | times | not there in time |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {found.killed[name]} | {found.missed[name]} |" for name in TARGETS),
    ]
    command = f"python -m chaos.kills --kills {given.kills} --seed {given.seed}"
    results = about("kills", "ray") | {"command": command}
    return "\n".join([*lines, *footer(results, "chaos/kills.py")]) + "\n"


if __name__ == "__main__":
    main()
