"""Their classes beside ours: time, memory and accuracy, then the page."""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import results
from benchmarks.avmnist import folds
from benchmarks.avmnist import measure as avmnist
from benchmarks.peers import accuracy, cases, measure, page
from benchmarks.peers.checkouts import Checkouts

NAME = "fusion_peers"


def main() -> None:
    parser = results.parser("peers", __doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="holds the checkouts")
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--speed", action=switch, default=True, help="time and memory")
    parser.add_argument("--accuracy", action=switch, default=True, help="on AV-MNIST-Open")
    parser.add_argument("--again", action="store_true", help="also accuracies measured before")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="where sound features are kept between calls")
    given = parser.parse_args()
    if not given.tables:
        if given.folder is None:
            print("no folder with the peers' checkouts is named: their numbers stay as they are")
            return
        torch.set_num_threads(1)
        data = results.data_folder("mnist/ and fsdd/") if given.accuracy else None
        if given.speed:
            _speed(given.folder)
        if data is not None:
            _accuracy(given, data)
    results.write_page(NAME, page.page)


def _speed(folder: Path) -> None:
    rows = []
    for case in cases.cases(Checkouts(folder)):
        rows.append(measure.measure(case))
        print(case.name, flush=True)
    sizes = {"batch": cases.BATCH, "repeats": measure.REPEATS}
    results.save(NAME, results.load(NAME) | _about() | sizes | {"rows": rows})


def _accuracy(given: argparse.Namespace, data: Path) -> None:
    """Add what is missing; a run that is stopped goes on where it was."""
    found = folds.load(data, given.cache or Path(tempfile.gettempdir(), "polyfuse-avmnist"))
    everything = results.load(NAME)
    setting = accuracy.setting(given.folder)
    own = avmnist.earlier(everything.get("accuracy", {}), setting) | setting
    if given.again:
        own["rows"] = []
    own |= {"about": _about(), "costs": accuracy.costs(given.folder, found[0])}
    for row in accuracy.rows(given.folder, found, given.seeds, given.workers, own):
        own["rows"].append(row | {"commit": own["about"]["commit"]})
        results.save(NAME, everything | {"accuracy": own})
        print(f"{row['name']}, {row['training']}, {row['fold']}, seed {row['seed']}", flush=True)
    own["rows"].sort(key=lambda row: (row["name"], row["training"], row["fold"], row["seed"]))
    results.save(NAME, everything | {"accuracy": own})


def _about() -> dict[str, Any]:
    found = results.about("peers", "torch", threads=1)
    return found | {"command": f"{found['command']} FOLDER", "load": os.getloadavg()[0]}


if __name__ == "__main__":
    main()
