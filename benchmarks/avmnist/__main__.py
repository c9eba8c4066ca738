"""Measure what is not measured yet, then write the page and the picture."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.avmnist import measure, page, picture

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.avmnist")
    parser.add_argument("--tables", action="store_true", help="only rewrite the page and picture")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(measure.NAMES))
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--seeds", type=int, default=3)
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
    """Add the rows that are missing; a run that is stopped goes on where it was."""
    from benchmarks.avmnist import folds

    data = os.environ.get("POLYFUSE_TEST_DATA")
    if not data:
        sys.exit("set POLYFUSE_TEST_DATA to the folder that holds mnist/ and fsdd/")
    path = RESULTS / "avmnist.json"
    results = measure.earlier(path)
    if given.again:
        results["rows"] = [row for row in results["rows"] if row["name"] not in given.only]
    wanted = measure.wanted(given.only, given.seeds, results)
    cache = given.cache or Path(tempfile.gettempdir(), "polyfuse-avmnist")
    found = folds.load(Path(data), cache)
    for number, row in enumerate(measure.rows(found, wanted, given.workers), start=1):
        results = measure.merged(results, row)
        path.write_text(json.dumps(results) + "\n", encoding="utf-8")
        print(
            f"{number}/{len(wanted)} {row['name']}, {row['fold']}, seed {row['seed']}", flush=True
        )


if __name__ == "__main__":
    main()
