"""Kill, corrupt, count, then the page."""

import argparse
import random
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.reliability import corpus, trial
from benchmarks.reliability.page import page
from benchmarks.reliability.systems import DATATROVE, System, systems

NAME = "reliability"


def main() -> None:
    parser = results.parser(NAME, __doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="for datatrove's environment")
    parser.add_argument("--kills", type=int, default=10, help="of each system")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="also systems measured before")
    given = parser.parse_args()
    if not given.tables:
        if given.folder is None:
            print("no folder is named for datatrove's environment: the numbers stay as they are")
            return
        found = results.about(NAME, "ray", "pyarrow")
        found |= {"command": f"{found['command']} FOLDER", "seed": given.seed}
        found["versions"]["datatrove"] = DATATROVE.rpartition("=")[2]
        sizes = {"records": corpus.RECORDS, "tables": corpus.TABLES, "broken": _broken()}
        found |= sizes | {"kills": given.kills, "reruns": trial.RERUNS, "patience": trial.PATIENCE}
        found["rows"] = _earlier(given)
        done = {row["name"] for row in found["rows"]}
        missing = [system for system in systems(given.folder) if system.name not in done]
        with tempfile.TemporaryDirectory() as folder:
            for row in _rows(Path(folder), missing, given.kills, given.seed):
                found["rows"].append(row)
                results.save(NAME, found)
    results.write_page(NAME, page)


def _earlier(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of an earlier call that asked for the same: one that was stopped goes on where it was."""
    earlier = results.load(NAME)
    same = all(earlier.get(key) == getattr(given, key) for key in ("kills", "seed"))
    return earlier["rows"] if same and not given.again else []


def _broken() -> int:
    return len(range(3, corpus.RECORDS, corpus.EVERY))


def _rows(folder: Path, compared: list[System], kills: int, seed: int) -> Iterator[dict[str, Any]]:
    intact, mixed = folder / "intact", folder / "mixed"
    corpus.write(intact, broken=False)
    bad = set(corpus.write(mixed, broken=True))
    for system in compared:
        row: dict[str, Any] = {"name": system.name, "trials": []}
        row["corrupted"] = trial.corrupted(system, mixed, bad)
        print(system.name, row["corrupted"], flush=True)
        dice, left = random.Random(seed), kills if system.killed else 0
        while left > 0 and len(row["trials"]) < 2 * kills:  # one that had ended is none
            outcome = trial.killed(system, intact, dice)
            left -= len(outcome.struck)
            row["trials"].append(asdict(outcome))
            print(system.name, outcome, flush=True)
        yield row


if __name__ == "__main__":
    main()
