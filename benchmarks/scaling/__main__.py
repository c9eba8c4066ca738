"""Whole runs of more and more records, and of more and more workers.

Records: `polyfuse extract` with `hashed-ngrams`, from a table of texts, in a fresh process. Workers: the
same command with an encoder that sleeps, `workers: 1` to 32 in a Ray that believes in so many cores;
planning, reading, writing, committing and Ray itself are real, and share the cores there are.
"""

import csv
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks import results
from benchmarks.speed import meter, summary
from benchmarks.speed.trial import events_of
from pipeline.ledger import Ledger

NAME = "scaling"
ROWS = (10_000, 100_000, 300_000)
WORKERS = (1, 2, 4, 8, 16, 32)
SHARD = 64
EACH = 0.03  # seconds of sleep per record: two for a shard
PER_WORKER = 1_000  # records at least: half a minute
PER_WORKER_AND_START = (
    125  # and so many for every process that the cores here start one after the other
)
GROWTH, EFFICIENCY = 1.05, 0.9  # aimed at
_SITE = Path(__file__).with_name("site")
_WORDS = "the quick brown fox jumps over a lazy dog while it rains in the old harbour".split()
_TIMEOUT = 1200.0


def main() -> None:
    parser = results.parser(NAME, __doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--repeats", type=int, default=3, help="of each number of records")
    given = parser.parse_args()
    if not given.tables:
        found = results.about(NAME, "ray", "pyarrow") | {"seed": None, "load": os.getloadavg()[0]}
        found |= {
            "shard": SHARD,
            "each": EACH,
            "cores": os.cpu_count() or 1,
            "rows": [],
            "workers": [],
        }
        for _ in range(given.repeats):
            for rows in given.rows:
                found["rows"].append(extract(rows, "hashed-ngrams", {}))
                print(found["rows"][-1], flush=True)
        for workers in given.workers:
            settings = {"workers": workers, "shard": {"records": SHARD}}
            each = max(PER_WORKER, PER_WORKER_AND_START * workers)
            run = extract(each * workers, {"name": "sleeping", "seconds": EACH}, settings)
            found["workers"].append(run | {"workers": workers})
            print(found["workers"][-1], flush=True)
        results.save(NAME, found)
    results.write_page(NAME, page)


def extract(rows: int, encoder: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One run: its records, what it used, its steady rate."""
    with tempfile.TemporaryDirectory(prefix="scaling-") as scratch:
        folder = Path(scratch)
        with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text"])
            for n in range(rows):
                writer.writerow([f"{n:09d}", " ".join(_WORDS[n % 7 : 8 + n % 9]) + f" {n}"])
        named = encoder if isinstance(encoder, dict) else {"name": encoder}
        config = {
            "source": {"path": "texts.csv", "id": "id"},
            "modalities": {"text": {"kind": "text", "encoder": named}},
            "output": "run",
            **settings,
        }
        (folder / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "jobs.cli", "extract", str(folder / "run.yaml")]
        usage = meter.measure(command, folder / "log", timeout=_TIMEOUT, path=[_SITE])
        if usage.failure:
            sys.exit(f"{rows} records: {usage.failure}")
        events = events_of(Ledger(folder / "run"))["text"]
        return {**vars(usage), "records": rows, "rate": summary.steady(events)}


# -- the page


def page(found: Mapping[str, Any]) -> str:
    """docs/results/scaling.md."""
    sizes = by_size(found["rows"])
    repeats = len(found["rows"]) // len(sizes)
    lines = [
        "# Scaling: records and workers",
        "",
        "Whole runs of `polyfuse extract` in fresh processes, start-up included.",
        "",
        "## Records",
        "",
        f"`hashed-ngrams`, a dozen words a record, default settings; the least of {repeats} runs, since what",
        "else the machine does only adds, and starting takes a second more or less. marginal: milliseconds",
        "per record beyond those of the size before; peak: of all processes, shared pages counted once.",
        "",
        "| records | seconds | marginal, ms | CPU, ms per record | peak |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for before, size in zip([None, *sizes], sizes, strict=False):
        more = "" if before is None else f"{1000 * marginal(before, size):.3f}"
        lines.append(
            f"| {size['records']:,} | {size['seconds']:.1f} | {more} "
            f"| {1000 * size['cpu'] / size['records']:.2f} | {size['peak'] / 2**20:.0f} MiB |"
        )
    if len(sizes) > 2:
        growth = marginal(*sizes[-2:]) / marginal(*sizes[:2])
        lines += [
            "",
            f"The last marginal cost is {growth:.2f} of the first (aimed at {GROWTH} at most).",
        ]
    lines += [
        "",
        "## Workers",
        "",
        f"Each record sleeps {1000 * found['each']:.0f} ms, shards of {found['shard']}. rate: from when "
        "the first shards are finished to the end of the last one, so while the last workers are started,",
        "too: those get their processor time from the cores there are, one after the other.",
        "efficiency: of as many times the rate that sleeping alone allows one worker; CPU: of all processes, "
        "as a share of the cores there are.",
        "",
        "| workers | records | seconds | rate | efficiency | CPU | peak |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in found["workers"]:
        share = run["rate"] * found["each"] / run["workers"]
        busy = run["cpu"] / run["seconds"] / found["cores"]
        lines.append(
            f"| {run['workers']} | {run['records']:,} | {run['seconds']:.1f} | {run['rate']:.1f} "
            f"| {share:.2f} | {busy:.0%} | {run['peak'] / 2**30:.1f} GiB |"
        )
    lines += ["", f"Aimed at: an efficiency of {EFFICIENCY} up to 32 workers."]
    return "\n".join([*lines, *results.footer(found, "benchmarks/scaling")]) + "\n"


def by_size(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The least of each number over the runs of each size, smallest first."""
    sizes = sorted({run["records"] for run in runs})
    names = ("records", "seconds", "cpu", "peak")
    return [
        {name: min(run[name] for run in runs if run["records"] == size) for name in names}
        for size in sizes
    ]


def marginal(small: Mapping[str, float], large: Mapping[str, float]) -> float:
    """Seconds per further record."""
    return (large["seconds"] - small["seconds"]) / (large["records"] - small["records"])


if __name__ == "__main__":
    main()
