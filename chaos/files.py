"""Mutated files of ours, of a source, of a configuration: a sentence, or what the intact file gives.

    python -m chaos.files [--count 20000] [--seed 0]

A finished run is made once. Then one file of it is changed at random and a command that reads it is
started: `status`, `verify`, `search` and `export` must answer as before or refuse in a sentence,
`verify` must notice every changed byte of what has a digest, and `run` must end with the parts of the
undisturbed run or refuse. A mutated table, tar or configuration must be refused, or run to an end
that the audit finds nothing in. All of it happens in a child process: a crash of native code, or a
hang, is a finding, too.
"""

import argparse
import multiprocessing
import os
import random
import re
import resource
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.results import RESULTS, about, footer
from chaos import crafted, targets
from chaos.mutate import mutated
from pipeline.errors import PolyfuseError

_ADDRESS = re.compile("0x[0-9a-f]{6}")
DEADLINE = 60.0  # seconds for one command
STARTUP = 120.0  # seconds until the child has made its run
MEMORY = 12_000_000_000  # address space of the child, bytes


@dataclass
class Found:
    """What became of the mutated files. outcomes: (command, kind of file) -> same, refused, ..."""

    files: int = 0
    outcomes: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, command: str, kind: str, outcome: str) -> None:
        """Count one."""
        self.files += 1
        self.outcomes.setdefault((command, kind), Counter())[outcome] += 1


def attack(count: int, seed: int, found: Found) -> None:
    """So many mutations, the same for the same seed; what is found is added."""
    start = 0
    while start < count:
        start = _in_a_child(start, count, seed, found)


def _in_a_child(start: int, count: int, seed: int, found: Found) -> int:
    """Try from one number on, until the end or until the child dies; returns the next number."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs, start, count, seed), daemon=True)
    child.start()
    theirs.close()
    what, number, patience = "making a run", start, STARTUP
    try:
        while number < count:
            if not ours.poll(patience):
                found.problems.append(f"seed {seed}, {number}: {what} hangs")
                return number + 1
            patience = DEADLINE
            message = ours.recv()
            if message[0] == "trying":
                what = message[1]
                continue
            _, command, kind, outcome, problem = message
            found.add(command, kind, outcome)
            if problem:
                found.problems.append(f"seed {seed}, {number}: {problem}")
            number += 1
    except EOFError:
        child.join()
        found.problems.append(f"seed {seed}, {number}: {what} ends with {child.exitcode}")
        number += 1
    finally:
        child.kill()
        child.join()
        ours.close()
    return number


def _serve(pipe: Connection, start: int, count: int, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder, targets.quiet(Path(folder)):
        made = targets.make(Path(folder))
        for number in range(start, count):
            case, raw = _draw(made, random.Random(f"{seed} {number}"), number)
            what = f"{case.command} with {case.path.relative_to(folder)}"
            pipe.send(("trying", what))
            outcome, problem = _try(case, raw)
            pipe.send(("done", case.command, case.kind, outcome, problem and f"{what}: {problem}"))


def _draw(made: list[targets.Case], dice: random.Random, number: int) -> tuple[targets.Case, bytes]:
    """A file with the command that reads it, and what stands in its place."""
    theirs = [case for case in made if case.kind.startswith(targets.OF_USERS)]
    case = dice.choice(theirs) if dice.random() < 0.15 else made[number % len(made)]
    if dice.random() < 0.3 and (changed := crafted.changed(case.path, case.intact, dice)):
        return case, changed
    rng = np.random.default_rng(dice.getrandbits(64))
    return case, mutated(case.intact, [other.intact for other in made if other.intact], rng)


def _try(case: targets.Case, raw: bytes) -> tuple[str, str]:
    """(outcome, what is wrong with it or "")."""
    case.path.write_bytes(raw)
    try:
        outcome = case.act()
    except PolyfuseError as err:
        text = str(err)
        clear = 10 < len(text) < 2000 and not _ADDRESS.search(text) and "Traceback" not in text
        return "refused", "" if clear else f"no clear sentence: {text[:300]!r}"
    except Exception as err:
        return "exception", f"{type(err).__name__}: {str(err)[:300]}"
    finally:
        case.restore()
    if outcome in ("same", "noticed") or raw == case.intact:
        return outcome, ""
    if case.sealed and not crafted.is_sealed(case.path, raw):
        return outcome, f"{outcome}, and nothing says so"
    return outcome, ""


def main() -> None:
    """Attack, and say what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos.files", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--count", type=int, default=20_000, help="mutated files")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = Found()
    attack(given.count, given.seed, found)
    (RESULTS / "fuzz_files.md").write_text(page(found, given), encoding="utf-8")
    print(f"{found.files:,} mutated files, {len(found.problems)} problems")
    print(RESULTS / "fuzz_files.md")
    if found.problems:
        raise SystemExit("\n".join(found.problems[:40]))


def page(found: Found, given: argparse.Namespace) -> str:
    """docs/results/fuzz_files.md."""
    known = sum(found.outcomes.values(), start=Counter())
    outcomes = sorted(known, key=lambda name: -known[name])
    lines = [
        "# Fuzz: mutated files of a run, of sources and of a configuration",
        "",
        f"{found.files:,} mutated files, each read by one command; {len(found.problems)} problems: a "
        "traceback, a crash, a hang, an",
        "answer that differs although the file has a digest, a changed byte that the audit does not "
        "notice, a run",
        "that ends with something wrong in it.",
        "",
        "*same*: as with the intact file, because the command does not need what changed, or writes it "
        "again. *refused*:",
        "one sentence. *noticed*: by `verify`. *ran*: a mutated source or configuration was run to an "
        "end in which `verify`",
        "finds nothing. *other*, *unnoticed*: another answer, where a file was forged together with its "
        "digest, or has none",
        "(`config.yaml`, the lease).",
        "",
        "| command | file | tried | " + " | ".join(outcomes) + " |",
        "| --- | --- | ---: |" + " ---: |" * len(outcomes),
    ]
    for (command, kind), own in sorted(found.outcomes.items()):
        cells = " | ".join(f"{own[name]:,}" for name in outcomes)
        lines.append(f"| {command} | {kind} | {own.total():,} | {cells} |")
    command = f"python -m chaos.files --count {given.count} --seed {given.seed}"
    results = about("fuzz", "pyarrow", "faiss-cpu", "pydantic") | {"command": command}
    return (
        "\n".join([*lines, *footer(results, "chaos/files.py")[:-1], "Written by `chaos/files.py`."])
        + "\n"
    )


if __name__ == "__main__":
    main()
