"""The demo: a corpus, a run, three queries, and whether the neighbours are the right ones.

    python -m jobs.demo [FOLDER]

Everything goes through the `polyfuse` command, as a person would type it. It fails when precision
at 5 (same concept) of any single modality falls below 0.9.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

MODALITIES = ("image", "text", "audio")
ENOUGH = 0.9


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 1 if neighbours are wrong, or the code of the command that failed."""
    parser = argparse.ArgumentParser(prog="python -m jobs.demo", description="a corpus, searched")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo"))
    folder = parser.parse_args(arguments).folder
    run = folder / "runs" / "sample"
    console = Console(highlight=False)
    try:
        # A second demo keeps the corpus, so that its run shows how little there is left to do.
        if not (folder / "polyfuse.yaml").exists():
            _polyfuse(console, "sample", folder)
        _polyfuse(console, "run", folder / "polyfuse.yaml")
        for modality, concept, value in _queries(folder):
            console.rule(f"a query by {modality}: {concept}", align="left")
            query = value if modality == "text" else folder / "queries" / value
            _polyfuse(console, "search", run, f"--{modality}", query, "-k", "5")
    except subprocess.CalledProcessError as err:
        return int(err.returncode)
    precisions = _precisions(run)
    _summary(console, precisions, folder, run)
    return int(min(precisions.values()) < ENOUGH)


def precision_at_5(vectors: np.ndarray, labels: np.ndarray) -> float:
    """How many of the 5 nearest other rows, by cosine, have the row's own label; the mean.

    Args:
        vectors: (N, D), rows without NaN.
        labels: (N,).
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norms, np.finfo(vectors.dtype).tiny)
    scores = unit @ unit.T  # (N, N)
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :5]  # (N, 5)
    return float((labels[nearest] == labels[:, None]).mean())


def _polyfuse(console: Console, *words: object) -> None:
    """Show and run a command of ours."""
    text = [str(word) for word in words]
    command = f"\n$ polyfuse {shlex.join(text)}"  # in one line, to be copied from the terminal
    console.print(command, style="bold", markup=False, highlight=False, soft_wrap=True)
    subprocess.run([sys.executable, "-m", "jobs.cli", *text], check=True)


def _queries(folder: Path) -> list[tuple[str, str, str]]:
    lines = (folder / "queries" / "queries.txt").read_text(encoding="utf-8").splitlines()
    fields = (line.split("\t", 2) for line in lines)
    return [(modality, concept, value) for modality, concept, value in fields]


def _precisions(run: Path) -> dict[str, float]:
    """Precision at 5 of each modality alone, over the records that have a vector of it."""
    from pipeline import Run

    results = Run(run)
    records = results.records().to_table(columns=["record_id", "concept"])
    concepts = dict(
        zip(records["record_id"].to_pylist(), records["concept"].to_pylist(), strict=True)
    )
    precisions = {}
    for modality in MODALITIES:
        record_ids, vectors = results.vectors(modality)
        there = ~np.isnan(vectors).any(axis=1)
        labels = np.array([concepts[record_id] for record_id in record_ids])
        precisions[modality] = precision_at_5(vectors[there], labels[there])
    return precisions


def _summary(console: Console, precisions: dict[str, float], folder: Path, run: Path) -> None:
    console.print()
    table = Table(
        "query and answer by", "same concept among the 5 nearest", box=None, pad_edge=False
    )
    for modality, precision in precisions.items():
        mark = "" if precision >= ENOUGH else f"   [red]below {ENOUGH}[/]"
        table.add_row(modality, f"{precision:.3f}{mark}")
    console.print(table)
    console.print(
        f"\ncorpus   {folder / 'records.csv'}\nresults  {run}\nreport   {run / 'report.html'}\n\n"
        f"next:    polyfuse status {run}\n"
        f"         polyfuse search {run} --text 'ticking clock' --where 'price < 50'\n"
        f"         polyfuse export {run} vectors.parquet",
        markup=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
