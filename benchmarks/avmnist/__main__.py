"""Measure what is not measured yet, then write the page and the picture."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.avmnist import folds, measure, page, picture, retrieval

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.avmnist")
    parser.add_argument("--tables", action="store_true", help="only rewrite the page and picture")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(measure.NAMES))
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--retrieval", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="where sound features are kept between calls")
    given = parser.parse_args()
    unknown = set(given.only) - set(measure.NAMES)
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; known: {', '.join(measure.NAMES)}")
    if not given.tables:
        fill(given)
    results = json.loads((RESULTS / "avmnist.json").read_text(encoding="utf-8"))
    (RESULTS / "avmnist.md").write_text(page.page(results), encoding="utf-8")
    (RESULTS / "avmnist.svg").write_text(picture.picture(results), encoding="utf-8")
    print(RESULTS / "avmnist.md")


def fill(given: argparse.Namespace) -> None:
    """Add what is missing; a run that is stopped goes on where it was."""
    data = os.environ.get("POLYFUSE_TEST_DATA")
    if not data:
        sys.exit("set POLYFUSE_TEST_DATA to the folder that holds mnist/ and fsdd/")
    path = RESULTS / "avmnist.json"
    results = measure.earlier(path)
    if given.again:
        results["rows"] = [row for row in results["rows"] if row["name"] not in given.only]
    cache = given.cache or Path(tempfile.gettempdir(), "polyfuse-avmnist")
    found = folds.load(Path(data), cache)
    wanted = measure.wanted(given.only, given.seeds, results)
    for number, row in enumerate(measure.rows(found, wanted, given.workers), start=1):
        results = measure.merged(results, row)
        _write(path, results)
        print(
            f"{number}/{len(wanted)} {row['name']}, {row['fold']}, seed {row['seed']}", flush=True
        )
    there = {row["fold"] for row in results.get("retrieval", [])}
    for fold in found:
        if given.retrieval and fold.name not in there:
            rows = [*results.get("retrieval", []), retrieval.measure(fold)]
            results = results | measure.about() | {"retrieval": rows}
            _write(path, results)
            print(f"retrieval, {fold.name}", flush=True)


def _write(path: Path, results: dict[str, Any]) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
