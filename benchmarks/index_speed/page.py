"""docs/results/index_speed.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.results import footer

_SETS = {
    "mnist": "MNIST pixels, 60,000 x 784, Euclidean; queries are test digits",
    "clustered": "{rows:,} x 384 clustered unit vectors, as hard as embeddings are, cosine",
    "noisy": "{rows:,} x 384 clustered unit vectors with more noise than embeddings have, cosine",
}
_EXPLAINED = """\
One process per system and measurement, in turns; medians over {rounds} rounds (ranges in brackets).
polyfuse takes no search parameter: its index has calibrated itself when it was built, on vectors of its
own, so that others reach 0.99. Each other system's is the least with {tuned},
found by doubling and bisection. The recall shown is that of the queries that there was time for. single:
one query per call, one thread, one core. batch: 1,000 in one call, all {threads} cores. Build: from vectors
on disk to an index on disk, all cores; polyfuse reads the Parquet parts of a run with their checksums,
measures recall and writes digests. `search` gives records with their metadata, `search_many` and the
others ids. The processor time is that of all threads: other work on the machine disturbs it less than the
rates. Load average during the rounds: {load}. Measured {date} at commit {commit}."""


def page(results: Mapping[str, Any]) -> str:
    """From the numbers alone."""
    lines = [
        "# Search beside hnswlib, usearch and LanceDB",
        "",
        "How the generated sets are made, and how hard they are: `benchmarks/index_speed/sets.py`.",
    ]
    for name, found in results["sets"].items():
        kind, _, rows = name.partition("-")
        lines += [
            "",
            f"## {_SETS[kind].format(rows=int(rows or 0))}",
            "",
            _EXPLAINED.format(**found | {"load": _loads(found["load"])}),
            "",
            "| system | settings | recall@10 | single q/s | p50 / p99 ms | CPU us | batch q/s | CPU us "
            "| build s | CPU s | peak MB building | peak MB asking | disk MB |",
            "| --- | --- |" + " ---: |" * 11,
            *(_row(row) for row in found["rows"]),
            "",
            *_verdict(found["rows"]),
        ]
    return "\n".join([*lines, *footer(results["about"], "benchmarks/index_speed")]) + "\n"


def _row(row: Mapping[str, Any]) -> str:
    single, batch, build = row["single"], row.get("batch"), row["build"]
    effort = f", {row['effort']}" if row["effort"] else ""
    cells = [
        row["name"],
        row["settings"] + effort,
        f"{single['recall']:.4f}",
        _rate(single),
        f"{single['p50_us'] / 1000:.2f} / {single['p99_us'] / 1000:.2f}",
        f"{single['cpu_us']:,.0f}",
        _rate(batch) if batch else "",
        f"{batch['cpu_us']:,.0f}" if batch else "",
        f"{build['seconds']:,.1f} (load {build['load']:.0f})" if build else "",
        f"{build['cpu']:,.1f}" if build else "",
        f"{build['peak_mb']:,.0f}" if build else "",
        f"{single['peak_mb']:,.0f}",
        f"{build['disk_mb']:,.0f}" if build else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _rate(found: Mapping[str, Any]) -> str:
    return f"{found['qps']:,.0f} ({found['lowest']:,.0f}-{found['highest']:,.0f})"


def _verdict(rows: list[Mapping[str, Any]]) -> list[str]:
    """Ours over theirs, over the better one where several are much alike, by rate and by processor time."""
    known = {row["name"]: row for row in rows}
    ours = known.get("polyfuse, `search_many`")
    if ours is None:
        return []
    groups = (
        ["hnswlib", "usearch"],
        [name for name in known if name.startswith("LanceDB")],
        ["FAISS by itself"],
        ["exact (FAISS Flat)"],
    )
    lines = [
        "| polyfuse, as a multiple of the fastest of | single | by CPU time | batch | by CPU time |"
    ]
    lines.append("| --- |" + " ---: |" * 4)
    for names in groups:
        theirs = [known[name] for name in names if name in known]
        if theirs:
            title = ", ".join(row["name"] for row in theirs)
            cells = []
            for way in ("single", "batch"):
                cells.append(ours[way]["qps"] / max(row[way]["qps"] for row in theirs))
                cells.append(min(row[way]["cpu_us"] for row in theirs) / ours[way]["cpu_us"])
            lines.append(f"| {title} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return lines


def _loads(loads: list[float]) -> str:
    return f"{min(loads):.1f} to {max(loads):.1f}"
