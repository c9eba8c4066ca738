"""Measure what is not measured yet, then write the page and the picture."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.avmnist import folds, measure, page, picture, retrieval
from benchmarks.avmnist.dataset import SPLITS
from benchmarks.results import RESULTS, data_folder, load, parser, save, write_page


def main() -> None:
    options = parser("avmnist", __doc__)
    options.add_argument("--only", nargs="+", metavar="NAME", default=list(measure.NAMES))
    options.add_argument("--again", action="store_true", help="also what was measured before")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--retrieval", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--cache", type=Path, help="where sound features are kept between calls")
    given = options.parse_args()
    unknown = set(given.only) - set(measure.NAMES)
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; known: {', '.join(measure.NAMES)}")
    if not given.tables:
        fill(given)
    write_page("avmnist", page.page)
    (RESULTS / "avmnist.svg").write_text(picture.picture(load("avmnist")), encoding="utf-8")


def fill(given: argparse.Namespace) -> None:
    """Add what is missing; a run that is stopped goes on where it was."""
    data = data_folder("mnist/ and fsdd/")
    results = measure.earlier(load("avmnist"), measure.setting())
    if given.again:
        results["rows"] = [row for row in results["rows"] if row["name"] not in given.only]
    cache = given.cache or Path(tempfile.gettempdir(), "polyfuse-avmnist")
    found = folds.load(data, cache, SPLITS)
    wanted = measure.wanted(given.only, given.seeds, results)
    for number, row in enumerate(measure.rows(found, wanted, given.workers), start=1):
        results = measure.merged(results, row)
        save("avmnist", results, indent=None)
        print(
            f"{number}/{len(wanted)} {row['name']}, {row['fold']}, seed {row['seed']}", flush=True
        )
    there = {row["fold"] for row in results.get("retrieval", [])}
    for fold in found:
        if given.retrieval and fold.name in folds.UNSEEN and fold.name not in there:
            rows = [*results.get("retrieval", []), retrieval.measure(fold)]
            results = results | measure.this_run() | {"retrieval": rows}
            save("avmnist", results, indent=None)
            print(f"retrieval, {fold.name}", flush=True)


if __name__ == "__main__":
    main()
