"""docs/results/speed_PROCESSOR.md from the numbers beside it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.results import footer
from benchmarks.speed import goals, summary
from benchmarks.speed.goals import COMPILED, OURS, Ceilings, Ratio
from benchmarks.speed.processor import slug
from benchmarks.speed.summary import Spread

_GIB = 2**30
_HEADS = (
    "system", "records", "cold start", "steady, per second", "whole run, per second",
    "CPU s per record", "peak memory", "cosine least / p1 / mean", "recall@10",
)  # fmt: skip


def page(results: Mapping[str, Any]) -> str:
    lines = [
        f"# Speed: polyfuse beside others on {results['processor']}",
        "",
        "Every run is a fresh process from files to Parquet; the systems take turns, and a number is the",
        "median of the runs with their range. How to read it, what is fair and what is not:",
        "[speed.md](../speed.md).",
        "",
        "![Steady rates as a share of the network alone in bf16]"
        f"(speed_{slug(results['processor'])}.svg)",
        "",
        *_ratios(results),
        *_whole(results),
        *_ceilings(results),
    ]
    for name, found in results["cases"].items():
        lines += _case(name, found)
    return "\n".join([*lines, *footer(results, "benchmarks/speed")]) + "\n"


# -- ratios


def _ratios(results: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Our rate over theirs",
        "",
        "Steady rates; ours with torch, and with the optional OpenVINO. Below 1 they are faster; missed:",
        "less than was aimed at. network alone: what the faster of our ceilings (below) would be; where it",
        "is less than was aimed at, that is out of reach on this processor.",
        "",
        "| case | system | ours | with OpenVINO | network alone | aimed at | |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {found.case} | {found.system} | {found.ours:.2f} | {_ratio(found.compiled)} | "
        f"{_ratio(found.alone)} | {'' if found.goal is None else f'{found.goal:g}'} | {_of_either(found)} |"
        for found in goals.ratios(results)
    ]
    return [*lines, ""]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _of_either(found: Ratio) -> str:
    alone = _verdict(found.ours, found.goal)
    if alone == "missed" and _verdict(found.compiled or 0.0, found.goal) == "reached":
        return "reached with OpenVINO"
    if alone == "missed" and _verdict(found.alone or math.inf, found.goal) == "missed":
        return "missed: out of reach"
    return alone


def _verdict(value: float, goal: float | None) -> str:
    if goal is None:
        return ""
    return "reached" if value >= goal else "missed"


def _whole(results: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Whole runs",
        "",
        "Records per second from the start of the process to its end: Ray, weights and the trial of half",
        "precision included. told: `precision: bf16` and `runtime: openvino`, as the others are told what",
        "to compute in, or take fp32; nothing is tried then.",
        "",
        "| case | records | ours | with OpenVINO | told | best other | |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for name, found in results["cases"].items():
        rates = {row["name"]: summary.whole(row["runs"]) for row in found["systems"]}
        medians = {system: spread.median for system, spread in rates.items() if spread}
        ours = [_number(medians.pop(system, None)) for system in goals.OF_OURS]
        best = max(medians, key=lambda system: medians[system], default="")
        cells = [f"{found['case']['items']:,}", *ours, best, _number(medians.get(best))]
        lines.append(_line(name, cells))
    return [*lines, ""]


# -- ceilings


def _ceilings(results: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Ours beside what the machine could do",
        "",
        "Records per second of both cores at once, one thread each. decode: reading and preparing alone,",
        "ours and by Pillow or PyAV with the processor of transformers; fp32, bf16: the network alone on",
        "ready tensors, at the best batch size or as our encoder batches them; bound: decoding and bf16",
        "one after the other; the second line of a case with OpenVINO. kept: our steady rate as a share of",
        "bf16, or of the bound where a star says so. bf16 over fp32 says what half precision gains on",
        "this processor, and bounds the ratios to systems in fp32. in it: the share of our workers' time",
        "that went into the network (with a star: into decoding and the network) in the steady part of the",
        "same run; what else runs on the machine, and slows the ceiling at another time, is not in it.",
        "",
        "| case | decode | theirs | fp32 | bf16 | bound | ours | kept | aimed at | | in it |",
        "| --- |" + " ---: |" * 8 + " --- | ---: |",
    ]
    for name, found in results["cases"].items():
        ceilings = goals.ceilings(found)
        if ceilings is None:
            continue
        read = [_number(ceilings.decode), _number(ceilings.plain), _number(ceilings.fp32)]
        usual = [*read, _number(ceilings.bf16), _number(ceilings.bound)]
        compiled = ["", "", "", _number(ceilings.openvino), _number(ceilings.openvino_bound)]
        lines.append(_line(name, [*usual, *_kept(found, ceilings, OURS)]))
        if goals.rate(found, COMPILED):
            lines.append(_line("", [*compiled, *_kept(found, ceilings, COMPILED)]))
    return [*lines, "", *_decode(results), *_long(results), *_sounds(results)]


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _kept(found: Mapping[str, Any], ceilings: Ceilings, system: str) -> list[str]:
    """Rate, share of the ceiling, goal, verdict and share of the time of one of ours."""
    case, rate = found["case"], goals.rate(found, system)
    if not rate:
        return ["", "", f"{case['goal']:g}", "", ""]
    kept = rate / ceilings.limit(case, system)
    star = "*" if case["additive"] else ""
    share = goals.share(found, system)
    return [
        _number(rate), f"{kept:.2f}{star}", f"{case['goal']:g}", _verdict(kept, case["goal"]),
        "" if share is None else f"{share:.2f}{star}",
    ]  # fmt: skip


def _decode(results: Mapping[str, Any]) -> list[str]:
    """Where decoding is heavy enough to matter."""
    said = []
    for name, found in results["cases"].items():
        ceilings = goals.ceilings(found)
        if ceilings and ceilings.plain and found["case"]["additive"]:
            said.append(f"{name} {ceilings.plain / ceilings.decode:.2f}")
    start = f"Our decoding takes, of their time (aimed at {goals.DECODE:g} at most): "
    return [start + ", ".join(said) + ".", ""] if said else []


def _long(results: Mapping[str, Any]) -> list[str]:
    runs = {name: found["long"] for name, found in results["cases"].items() if "long" in found}
    if not runs:
        return []
    said = [
        f"{name} ({run['system']}): {run['items'] / run['seconds'] / run['rate']:.2f} "
        f"({run['items']:,} records in {run['seconds']:.0f} s, steady {run['rate']:.1f} a second)"
        for name, run in runs.items()
    ]
    start = (
        f"Whole runs of two minutes, as a share of their own steady rate (aimed at {goals.WHOLE}): "
    )
    return [start + "; ".join(said) + ".", ""]


def _sounds(results: Mapping[str, Any]) -> list[str]:
    found = results["cases"].get("A1")
    if found is None:
        return []
    times = {
        name: rate * found["duration"]
        for name in (OURS, COMPILED)
        if (rate := goals.rate(found, name))
    }
    said = [f"{name}: {value:,.0f} times real time" for name, value in times.items()]
    verdict = _verdict(max(times.values(), default=0.0), goals.REAL_TIME)
    return [f"A1: {', '.join(said)} (aimed at {goals.REAL_TIME:g}: {verdict}).", ""] if said else []


# -- one case


def _case(name: str, found: Mapping[str, Any]) -> list[str]:
    case = found["case"]
    models = ", ".join(case["models"].values())
    lines = [
        f"## {name}: {case['title']}",
        "",
        f"{case['items']:,} {case['unit']}; {models}. Measured {case['date']} at {case['commit']}, "
        f"load of the machine before a run "
        f"{_before(found['systems'], 'load', '.1f') or 'unknown'}{_products(found['systems'])}.",
        "",
        "| " + " | ".join(_HEADS) + " |",
        "| --- |" + " ---: |" * (len(_HEADS) - 1),
        *(_row(row) for row in found["systems"] if not row["reason"]),
        "",
    ]
    for row in found["systems"]:
        if row["reason"]:
            lines += [f"{row['name']}: no number. {_quoted(row['reason'])}", ""]
        elif failures := row.get("failures"):
            times = f"{len(failures)} of {len(failures) + len(row['cold'] + row['runs'])} runs"
            lines += [
                f"{row['name']}: {times} failed, and were repeated. {_quoted(failures[-1])}",
                "",
            ]
    told = [f"{row['name']}: {row['threads']}" for row in found["systems"] if not row["reason"]]
    return [*lines, "Threads. " + ". ".join(told) + ".", ""]


def _row(row: Mapping[str, Any]) -> str:
    runs = row["runs"]
    rates = summary.noted(row, "rate")
    cells = [
        row["name"],
        f"{runs[0]['items']:,}" if runs else "",
        " s, ".join(f"{run['seconds']:.1f}" for run in row["cold"]) + " s" if row["cold"] else "",
        _spread(rates),
        _spread(summary.whole(runs)),
        f"{min(run['cpu'] / run['items'] for run in runs):.3g}" if runs else "",
        f"{max(run['peak'] for run in runs) / _GIB:.1f} GiB" if runs else "",
        *_accuracy(runs),
    ]
    return "| " + " | ".join(cells) + " |"


def _accuracy(runs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The worst of the runs."""
    if not runs:
        return "", ""
    if missing := max(run["accuracy"].get("missing", 0) for run in runs):
        return f"{missing} records missing", ""
    least, p1, mean, recall = (
        min(run["accuracy"][name] for run in runs) for name in ("least", "p1", "mean", "recall")
    )
    return f"{least:.4f} / {p1:.4f} / {mean:.4f}", f"{recall:.3f}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _before(systems: Sequence[Mapping[str, Any]], name: str, form: str) -> str:
    """The range of what was noted before every run; empty where nothing was."""
    noted = [run[name] for row in systems for run in row["runs"] if name in run]
    return f"{min(noted):{form}} to {max(noted):{form}}" if noted else ""


def _products(systems: Sequence[Mapping[str, Any]]) -> str:
    noted = _before(systems, "products", ".0f")
    return f", products of one core in bf16 {noted} GFLOP/s" if noted else ""


def _quoted(reason: str) -> str:
    """On one line, and nothing in it is Markdown."""
    return "`" + " ".join(reason.replace("`", "'").split()) + "`"
