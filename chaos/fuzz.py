"""Mutated media among intact ones: a run must end, keep every good row and explain every bad one.

    python -m chaos.fuzz [--count 50000] [--seed 0]      writes docs/results/fuzz.md

Each round is a run over as many mutated files as intact ones, beside a run in which every mutated
file is one that can't be decoded. Checked: the vectors of the intact files are the same in every
bit, every mutated file is a vector or exactly one error per feature, and the audit finds nothing.
"""

import argparse
import csv
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.results import RESULTS, about, footer
from chaos import media
from chaos.mutate import mutated
from pipeline import Run
from pipeline import config as configuration
from pipeline.run import Options, run
from pipeline.verify import verify

ROUND = 5_000  # mutated files of a run
EACH = 4  # intact files of a format
FEATURES = ("image", "audio", "video.frames")
BROKEN = b"no medium"


@dataclass
class Found:
    """What became of the mutated files. outcomes: (kind, suffix) -> a reason, or "vector"."""

    files: int = 0
    outcomes: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main() -> None:
    """Attack until so many mutated files were tried; ends with an error where something did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos.fuzz", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--count", type=int, default=50_000, help="mutated files")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = Found()
    for number in range(-(-given.count // ROUND)):
        count = min(ROUND, given.count - number * ROUND)
        with tempfile.TemporaryDirectory() as folder:
            attack(Path(folder), count, given.seed + number, found)
        print(f"{found.files:,} mutated files, {len(found.problems)} problems", flush=True)
    (RESULTS / "fuzz.md").write_text(page(found, given), encoding="utf-8")
    print(RESULTS / "fuzz.md")
    if found.problems:
        raise SystemExit("\n".join(found.problems[:20]))


def attack(folder: Path, count: int, seed: int, found: Found) -> None:
    """One round; what it finds is added."""
    rng = np.random.default_rng([seed, 1])
    good = list(media.intact(seed, EACH))
    for number, (_, suffix, raw) in enumerate(good):
        (folder / f"good-{number}.{suffix}").write_bytes(raw)
    bad: dict[str, tuple[str, str]] = {}
    rows = []
    for number in range(count):
        kind, suffix, raw = good[rng.integers(len(good))]
        changed = mutated(raw, [other for *_, other in good], rng)
        (folder / f"bad-{number}.{suffix}").write_bytes(changed)
        bad[f"bad-{number}"] = (kind, suffix)
        rows.append((f"bad-{number}", kind, f"bad-{number}.{suffix}"))
        place = int(rng.integers(len(good)))
        kind, suffix, _ = good[place]
        rows.append((f"good-{number}", kind, f"good-{place}.{suffix}"))
    started = time.perf_counter()
    attacked = _run(folder, "attacked", rows)
    found.seconds += time.perf_counter() - started
    (folder / "broken").write_bytes(BROKEN)
    calm = _run(folder, "calm", [(i, k, "broken" if i in bad else p) for i, k, p in rows])
    found.files += count
    found.problems += [f"seed {seed}: {problem}" for problem in _problems(attacked, calm, bad)]
    for record_id, outcome in _outcomes(attacked, bad).items():
        found.outcomes.setdefault(bad[record_id], Counter())[outcome] += 1
        if outcome == "nothing":
            found.problems.append(f"seed {seed}: {record_id} is neither a vector nor an error")


def _run(folder: Path, output: str, rows: list[tuple[str, str, str]]) -> Path:
    with (folder / f"{output}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *media.KINDS])
        for record_id, kind, path in rows:
            writer.writerow(
                [record_id, *(path if kind == column else "" for column in media.KINDS)]
            )
    settings: dict[str, Any] = {
        "source": {"path": f"{output}.csv", "id": "id"},
        "modalities": {kind: {"kind": kind} for kind in media.KINDS},
        "output": output,
        "limits": {"bytes": "8MB", "pixels": "4M", "seconds": 20, "item_timeout": 20},
        "max_error_rate": 1,
    }
    run(configuration.parse(settings, folder), Options(("extract",)))
    return folder / output


def _problems(attacked: Path, calm: Path, bad: dict[str, tuple[str, str]]) -> list[str]:
    problems = list(verify(attacked).problems)
    for feature in FEATURES:
        ids, ours = Run(attacked).vectors(feature)
        _, theirs = Run(calm).vectors(feature)
        for row, record_id in enumerate(ids):
            if record_id not in bad and ours[row].tobytes() != theirs[row].tobytes():
                problems.append(f"{feature} of {record_id} is not that of an undisturbed run")
            there = not np.isnan(ours[row]).all()  # no vector: all NaN
            if there and not np.isfinite(ours[row]).all():
                problems.append(f"{feature} of {record_id} is not finite")
    errors = pq.read_table(attacked / "errors").select(["record_id", "feature"]).to_pylist()
    times = Counter((row["record_id"], row["feature"]) for row in errors)
    problems += [f"{key}: {count} errors" for key, count in times.items() if count > 1]
    problems += [f"{key}: an intact file failed" for key in times if key[0] not in bad]
    return problems


def _outcomes(attacked: Path, bad: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Each mutated file: the reason of its error, or "vector"; "nothing" must not occur."""
    records = Run(attacked).records().to_table(columns=["record_id", "present"]).to_pylist()
    found = {row["record_id"]: "vector" for row in records if row["present"]}
    for row in pq.read_table(attacked / "errors").to_pylist():
        found[row["record_id"]] = row["reason"]
    return {record_id: found.get(record_id, "nothing") for record_id in bad}


def page(found: Found, given: argparse.Namespace) -> str:
    """docs/results/fuzz.md."""
    reasons = sorted({reason for own in found.outcomes.values() for reason in own})
    lines = [
        "# Fuzz: mutated media among intact ones",
        "",
        f"{found.files:,} mutated files, one intact file beside each. Every run ended; "
        f"{len(found.problems)} problems: an intact file that",
        "changed in a bit or failed, a mutated one that is neither a vector nor exactly one error, "
        "a finding of the audit.",
        f"{2 * found.files / found.seconds:,.0f} files a second.",
        "",
        "| kind | format | files | " + " | ".join(reasons) + " |",
        "| --- | --- | ---: |" + " ---: |" * len(reasons),
    ]
    for (kind, suffix), own in sorted(found.outcomes.items()):
        cells = [f"{own[reason]:,}" for reason in reasons]
        lines.append(f"| {kind} | {suffix} | {own.total():,} | {' | '.join(cells)} |")
    command = f"python -m chaos.fuzz --count {given.count} --seed {given.seed}"
    results = about("fuzz", "av", "pillow") | {"command": command}
    return (
        "\n".join([*lines, *footer(results, "chaos/fuzz.py")[:-1], "Written by `chaos/fuzz.py`."])
        + "\n"
    )


if __name__ == "__main__":
    main()
