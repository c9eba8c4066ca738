"""Build, tune, ask in turns, then the page."""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import results
from benchmarks.index_speed import sets
from benchmarks.index_speed.page import page
from benchmarks.index_speed.systems import PEERS, SYSTEMS, Place, System, place

NAME = "index_speed"
TARGET = 0.99  # recall@10, at the least


def main() -> None:
    parser = results.parser(NAME, __doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="for environment, vectors, indexes")
    parser.add_argument("--sets", nargs="+", choices=sets.METRICS, default=list(sets.METRICS))
    parser.add_argument("--rows", type=int, default=1_000_000, help="of a generated set")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of asking, each time")
    parser.add_argument("--systems", nargs="+", default=[system.name for system in SYSTEMS])
    parser.add_argument("--rebuild", action="store_true", help="also indexes that are there")
    given = parser.parse_args()
    if not given.tables:
        if given.folder is None:
            print("no folder is named for the peers' environment: the numbers stay as they are")
            return
        data = results.data_folder("mnist/")
        chosen = [system for system in SYSTEMS if system.name in given.systems]
        found = results.load(NAME)
        about = _about()
        found |= {"about": about, "sets": found.get("sets", {})}
        for name in given.sets:
            where = place(name, given.rows, data, given.folder.resolve())
            when = {key: about[key] for key in ("date", "commit")}
            found["sets"][where.vectors.parent.name] = _measure(where, chosen, given) | when
            results.save(NAME, found)
    results.write_page(NAME, page)


def _about() -> dict[str, Any]:
    found = results.about(NAME, "faiss-cpu", "numpy")
    found["versions"] |= PEERS
    return found | {"command": f"{found['command']} FOLDER", "seed": 0}


def _measure(where: Place, chosen: Sequence[System], given: argparse.Namespace) -> dict[str, Any]:
    threads = len(os.sched_getaffinity(0))
    loads = [os.getloadavg()[0]]
    rows: list[dict[str, Any]] = []
    target = TARGET
    for system in chosen:
        row = {"name": system.name, "build": _built(where, system, threads, given.rebuild)}
        rows.append(row | where.ask(system, threads, "tune", target))
        if system == SYSTEMS[0]:
            # Ours has found its settings by itself: the others shall find as much.
            target = max(target, rows[-1]["recall"])
        print(rows[-1], flush=True)
    asked: dict[str, list[dict[str, Any]]] = {}
    for _ in range(given.rounds):  # in turns: what else the machine does hits all of them
        for system, row in zip(chosen, rows, strict=True):
            single = where.ask(system, 1, "single", row["effort"], given.seconds)
            asked.setdefault(f"single {system.name}", []).append(single)
            if system.batch:
                batch = where.ask(system, threads, "batch", row["effort"], given.seconds)
                asked.setdefault(f"batch {system.name}", []).append(batch)
        loads.append(os.getloadavg()[0])
        print(f"load {loads[-1]:.1f}", flush=True)
    for row in rows:
        for way in ("single", "batch"):
            if f"{way} {row['name']}" in asked:
                row[way] = _summary(asked[f"{way} {row['name']}"])
    ours = ", as polyfuse has," if target > TARGET else ""
    return {
        "metric": where.metric,
        "threads": threads,
        "load": loads,
        "rounds": given.rounds,
        "tuned": f"recall@10 >= {target:.4f}{ours} on the 5,000 queries that are asked",
        "rows": rows,
    }


def _built(where: Place, system: System, threads: int, again: bool) -> dict[str, Any] | None:
    """Seconds, memory and size of the index; None where another system has built it."""
    if system.index:
        return None
    own = where.indexes / system.program.replace(":", "-")
    note = own / "build.json"
    if again or not note.exists():
        shutil.rmtree(own, ignore_errors=True)
        where.ask(system, threads, "prepare")
        note.write_text(
            json.dumps(where.ask(system, threads, "build") | {"load": os.getloadavg()[0]})
        )
    return json.loads(note.read_text())


def _summary(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of every number, and the range of the rates."""
    found = {key: median(one[key] for one in rounds) for key in rounds[0]}
    rates = [one["qps"] for one in rounds]
    return found | {"lowest": min(rates), "highest": max(rates)}


if __name__ == "__main__":
    main()
