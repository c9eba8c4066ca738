"""Every operator and baseline on every fold: one row of numbers per (name, fold, seed)."""

import concurrent.futures
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from sklearn.neighbors import KNeighborsClassifier

import fusion
from benchmarks.avmnist import folds, recipe
from benchmarks.avmnist.dataset import DIGESTS
from benchmarks.avmnist.folds import Fold
from fusion.batch import Batch

NEIGHBOURS = "k-NN product"
# Coordinated spaces are trained to find, not to tell classes apart: see `retrieval`.
SPACES = {"infonce", "siglip", "dcca", "dgcca", "cca", "barlow-twins", "vicreg"}
NAMES = (*recipe.BASELINES, NEIGHBOURS, *(name for name in fusion.FUSIONS if name not in SPACES))

_folds: list[
    Fold
] = []  # of a worker process, set once: they are too large to travel with each task


def rows(
    found: Sequence[Fold], names: Sequence[str], seeds: int, workers: int
) -> Iterator[dict[str, Any]]:
    """Train and score; rows come as they are finished."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, _start, (found,)) as pool:
        tasks = [
            pool.submit(_row, name, number, seed)
            for name in names
            for seed in range(1 if name == NEIGHBOURS else seeds)  # nothing random in neighbours
            for number in range(len(found))
        ]
        for task in concurrent.futures.as_completed(tasks):
            yield task.result()


def _start(found: list[Fold]) -> None:
    torch.set_num_threads(1)
    _folds.extend(found)


def _row(name: str, number: int, seed: int) -> dict[str, Any]:
    fold = _folds[number]
    own = {"name": name, "fold": fold.name, "seed": seed}
    if name == NEIGHBOURS:
        return own | _neighbours(fold)
    model = recipe.fitted(name, fold, seed)
    counts = {"parameters": model.parameters(), "seconds": model.seconds}
    return own | recipe.score(model, fold.test) | counts


def _neighbours(fold: Fold) -> dict[str, Any]:
    """No training at all: the product of what the 50 nearest neighbours of each feature say."""
    image, sound = (_posterior(fold.train, fold.test, name) for name in ("image", "sound"))
    targets = fold.test.targets
    said = {"full": image * sound, "image": image, "sound": sound}
    right = {pattern: (p.argmax(dim=1) == targets).numpy() for pattern, p in said.items()}
    return recipe.summary(right)


def _posterior(train: Batch, test: Batch, name: str) -> torch.Tensor:
    neighbours = KNeighborsClassifier(50).fit(train.features[name].numpy(), train.targets.numpy())
    shares = torch.from_numpy(neighbours.predict_proba(test.features[name].numpy()))
    return (shares * 50 + 0.5) / (50 + 5)


def merged(path: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The fresh row among those of earlier calls, in the place of its own earlier one."""
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    key = ("name", "fold", "seed")
    kept = [row for row in results["rows"] if any(row[k] != fresh[k] for k in key)]
    kept.append(fresh | {"commit": commit()})
    kept.sort(key=lambda row: (NAMES.index(row["name"]), row["fold"], row["seed"]))
    return results | about() | {"rows": kept}


def about() -> dict[str, Any]:
    """What the numbers are of."""
    packages = ("torch", "numpy", "scikit-learn")
    return {
        "format": 1,
        "command": "python -m benchmarks.avmnist",
        "recipe": asdict(recipe.RECIPE)
        | {"dim": recipe.DIM, "hidden": recipe.HIDDEN, "dropout": recipe.DROPOUT}
        | {"label_smoothing": recipe.SMOOTHING, "sizes": recipe.SIZES},
        "pairs": {name: DIGESTS[name] for name in folds.UNSEEN},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": sys.version.split()[0]}
        | {name: importlib.metadata.version(name) for name in packages},
    }


def commit() -> str:
    """Of the code that measured."""
    command = ["git", "describe", "--always", "--dirty"]
    here = Path(__file__).parent
    return subprocess.run(
        command, capture_output=True, text=True, cwd=here, check=False
    ).stdout.strip()
