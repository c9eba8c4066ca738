"""Threads, processes and batches by themselves and by hand: writes docs/results/placement.json and .md.

    POLYFUSE_TEST_DATA=FOLDER python -m benchmarks.placement

Prepared items are encoded over and over, in as many processes of as many threads as the table says, all
at the same time; batches are those of the encoders, times a factor. What this processor is good at is
the precision, and the tables of other processors stay.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import results
from benchmarks.speed import corpora, models, processor
from benchmarks.speed.cases import CASES, encoder
from encoders.precision import resolve

NAME = "placement"
WITHIN = 0.05  # of the best by hand, asked for
FACTORS = (0.5, 1, 2)  # on the batches
ROUNDS = 2
_CASES = {"T1": 512, "I1": 64, "A1": 8}  # items per list: a shard, half a window, few files
_ENCODE = [sys.executable, "-m", "benchmarks.placement.encode"]


def main() -> None:
    results.main(NAME, __doc__, measure, page, needs="photos/ and text/")


def measure(data: Path) -> dict[str, Any]:
    """Items a second for every case, runtime, division of the cores and factor, by processor."""
    cores, precision = len(os.sched_getaffinity(0)), resolve("auto")
    about = results.about(NAME, "torch", "openvino", "transformers") | {"seed": 0}
    cache = Path(os.environ.get("POLYFUSE_SPEED_CACHE", "~/.cache/polyfuse/speed")).expanduser()
    rows = []
    for name, items in _CASES.items():
        setting = _setting(name, items, cache, data) | {"precision": precision}
        for runtime in ("torch", "openvino"):
            rates = {}
            for processes, threads in ((cores, 1), (1, cores)):
                found = _rates(setting | {"runtime": runtime}, processes, threads)
                rates |= {f"{processes} x {threads}, {factor}": found[factor] for factor in FACTORS}
            rows.append({"case": name, "runtime": runtime, "items": items, "rates": rates})
            print(rows[-1], flush=True)
    here = {key: about[key] for key in ("date", "commit")}
    here |= {"cores": cores, "precision": precision, "rows": rows, "load": os.getloadavg()[0]}
    others = results.load(NAME).get("processors", {})
    return about | {"processors": others | {processor.name(): here}}


def _setting(name: str, items: int, cache: Path, data: Path) -> dict[str, Any]:
    case = CASES[name]
    ((modality, model),) = case.models.items()
    options = encoder(modality, models.locate(model, cache, data))
    table = (
        corpora.write(case.corpus, max(items, case.items), cache / "corpora", data) / "table.csv"
    )
    return {"kind": case.kind, "encoder": options, "table": str(table), "items": items}


def _rates(setting: Mapping[str, Any], processes: int, threads: int) -> dict[float, float]:
    """Items a second of all processes together, by factor: the median of rounds that take turns."""
    told = json.dumps(setting | {"threads": threads})
    running = [
        subprocess.Popen(
            [*_ENCODE, told], cwd=results.ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(processes)
    ]  # fmt: skip
    found: dict[float, list[float]] = {factor: [] for factor in FACTORS}
    for _ in range(ROUNDS + 1):  # the first one compiles and warms up
        for factor, rates in found.items():
            for process in running:
                assert process.stdin is not None
                process.stdin.write(f"{factor}\n")
                process.stdin.flush()
            answers = [process.stdout.readline() for process in running if process.stdout]
            rates.append(sum(map(float, answers)))
    for process in running:
        process.communicate()
    return {factor: median(rates[1:]) for factor, rates in found.items()}


# -- the page


def page(found: Mapping[str, Any]) -> str:
    """docs/results/placement.md."""
    lines = [
        "# Processes, threads and batches by themselves and by hand",
        "",
        "Items a second of all cores together: PROCESSES x THREADS, FACTOR on the batches of the",
        "encoders. polyfuse takes a process of one thread for each core, and 1, without being asked;",
        f"aimed at: within {WITHIN:.0%} of the best. Lists of as many prepared items as stand in brackets;",
        f"medians of {ROUNDS} rounds. A table names its commit: batches may have changed since.",
    ]
    for name, here in found["processors"].items():
        lines += ["", f"## {name}", "", *_table(here)]
    return "\n".join([*lines, *results.footer(found, f"benchmarks/{NAME}")]) + "\n"


def _table(here: Mapping[str, Any]) -> list[str]:
    """What one processor did."""
    cores, columns = here["cores"], list(here["rows"][0]["rates"])
    lines = [
        f"In {here['precision']}, {here['date']}, commit {here['commit']}; load of the machine at the end "
        f"{here['load']:.1f}.",
        "",
        f"| case | runtime | {' | '.join(columns)} | ours over the best | |",
        "| --- | --- |" + " ---: |" * (len(columns) + 1) + " --- |",
    ]
    for row in here["rows"]:
        kept = row["rates"][f"{cores} x 1, 1"] / max(row["rates"].values())
        rates = " | ".join(f"{row['rates'][column]:.1f}" for column in columns)
        verdict = "reached" if kept >= 1 - WITHIN else "missed"
        title = f"{CASES[row['case']].title} ({row['items']})"
        lines.append(f"| {title} | {row['runtime']} | {rates} | {kept:.2f} | {verdict} |")
    return lines


if __name__ == "__main__":
    main()
