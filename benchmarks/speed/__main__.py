"""Peers beside us: time, memory and accuracy of whole runs; then the page and the picture."""

import argparse
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.speed import cases, corpora, goals, processor, summary
from benchmarks.speed.cases import Case
from benchmarks.speed.environments import NotInstalled
from benchmarks.speed.page import page
from benchmarks.speed.picture import picture
from benchmarks.speed.systems import SYSTEMS
from benchmarks.speed.trial import TIMEOUT, Bench

NAME = "speed"
_LONG = 135.0  # seconds
_TRIES = 3  # of one run: a peer that fails now and then has a rate all the same
_CACHE = Path(os.environ.get("POLYFUSE_SPEED_CACHE") or "~/.cache/polyfuse/speed").expanduser()


def main() -> None:
    parser = results.parser(NAME, __doc__)
    parser.add_argument("--case", nargs="+", metavar="NAME", help=f"of {', '.join(cases.CASES)}")
    parser.add_argument("--system", nargs="+", metavar="NAME", help="only these; others stay")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--long", action="store_true", help="also a run of ours of two minutes per case"
    )
    parser.add_argument("--cache", type=Path, default=_CACHE, help="environments and corpora")
    given = parser.parse_args()
    if not given.tables:
        try:
            wanted = cases.named(given.case)
        except ValueError as err:
            sys.exit(f"--case: {err}")
        if unknown := set(given.system or ()) - SYSTEMS.keys():
            sys.exit(f"--system: unknown {sorted(unknown)[0]!r}; known: {', '.join(SYSTEMS)}")
        data = results.data_folder("weights/, photos/ and text/")
        given.cache.mkdir(parents=True, exist_ok=True)
        for case in wanted:
            _measure(case, given, data)
    measured = sorted(path.stem for path in results.RESULTS.glob(f"{NAME}_*.json"))
    for name in measured or [_here()]:
        results.write_page(name, page)
        svg = (results.RESULTS / name).with_suffix(".svg")
        svg.write_text(picture(results.load(name)), encoding="utf-8")


def _here() -> str:
    """Where the numbers of this machine are kept: those of another processor are other numbers."""
    return f"{NAME}_{processor.slug(processor.name())}"


def _measure(case: Case, given: argparse.Namespace, data: Path) -> None:
    """Save what is there after each round: a session that is stopped leaves a page."""
    bench = Bench.ready(case, given.cache, data)
    bench.reference()
    names = [name for name in case.systems if name in (given.system or case.systems)]
    found = _case(case, kept=bool(given.system))
    earlier = {row["name"]: row for row in found["systems"] if row["name"] not in names}
    rows = {name: _row(name) for name in names}
    if case.kind == "audio":
        found["duration"] = corpora.mean_seconds(bench.corpus / "table.csv")
    found["parts"] = bench.parts(os.cpu_count() or 1)
    for name in names:
        if SYSTEMS[name].exports:
            _add(_row(name), "cold", bench, small=True)  # not kept
    # What is on disk is warm after the runs, alike for all: so the cold starts come last.
    for small in (*[False] * given.repeats, True):
        for name in names:
            _add(rows[name], "cold" if small else "runs", bench, small=small)
        for row in rows.values():
            _fill_in(row)
        there = earlier | rows
        found["systems"] = [there[name] for name in case.systems if name in there]
        _save(found)
    if given.long:
        found["long"] = _long(case, found, given.cache, data)
        _save(found)


def _long(case: Case, found: Mapping[str, Any], cache: Path, data: Path) -> dict[str, Any]:
    """One run of our faster one over so many records that it takes two minutes and more."""
    rates = {name: goals.rate(found, name) or 0.0 for name in (goals.OURS, goals.COMPILED)}
    system = max(rates, key=lambda name: rates[name])
    times = max(1, math.ceil(_LONG * rates[system] / case.items))
    run = Bench.ready(case, cache, data, times).run(SYSTEMS[system])
    print(f"{case.name:4} long  {run['seconds']:.1f} s, {run['items']} records {run['failure']}")
    return run | {"system": system}


def _row(name: str) -> dict[str, Any]:
    system = SYSTEMS[name]
    row = {"name": name, "threads": system.threads, "options": dict(system.options)}
    return row | {"cold": [], "runs": [], "failures": [], "reason": ""}


def _add(row: dict[str, Any], where: str, bench: Bench, *, small: bool) -> None:
    """One more run of that system, repeated where it fails, unless it has failed for good before."""
    if row["reason"]:
        return
    about = f"{bench.case.name:4} {where:5} {row['name']:32}"
    try:
        for _ in range(_TRIES):
            run = bench.run(SYSTEMS[row["name"]], small=small)
            rate = f"{run['rate']:.2f}/s" if "rate" in run else ""
            print(f"{about} {run['seconds']:7.1f} s {rate} {run['failure']}", flush=True)
            if not run["failure"]:
                row[where].append(run)
                return
            row["failures"].append(run["failure"])
            if run["seconds"] >= TIMEOUT:
                break
        row["reason"] = run["failure"]
    except NotInstalled as err:
        row["reason"] = f"can't be installed: {err}"
        print(f"{about} {row['reason']}", flush=True)


def _fill_in(row: dict[str, Any]) -> None:
    """The rates of a system that notes nothing: by the time that its runs take beyond the small one."""
    for run in row["runs"]:
        if "rate" not in run and row["cold"]:
            small = row["cold"][0]
            rate = summary.marginal(run["seconds"], run["items"], small["seconds"], small["items"])
            if rate is not None:
                run["rate"] = rate


def _case(case: Case, *, kept: bool) -> dict[str, Any]:
    """The case as it is now. kept: with what an earlier call has found."""
    when = {"date": results.about(NAME)["date"], "commit": results.commit()}
    about = asdict(case) | when
    earlier = results.load(_here()).get("cases", {}).get(case.name, {}) if kept else {}
    return {"systems": [], **earlier, "case": about, "parts": []}


def _save(found: dict[str, Any]) -> None:
    everything = results.load(_here())
    packages = ("torch", "transformers", "openvino", "ray", "pillow", "av", "numpy", "pyarrow")
    about = results.about(NAME, *packages) | {"seed": 0, "processor": processor.name()}
    measured = everything.get("cases", {}) | {found["case"]["name"]: found}
    results.save(_here(), about | {"cases": {n: measured[n] for n in cases.CASES if n in measured}})


if __name__ == "__main__":
    main()
