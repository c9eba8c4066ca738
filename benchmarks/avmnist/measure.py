"""Every operator and baseline on every fold: one row of numbers per (name, fold, seed)."""

import concurrent.futures
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from sklearn.neighbors import KNeighborsClassifier

import fusion
from benchmarks.avmnist import recipe
from benchmarks.avmnist.dataset import DIGESTS, SPLITS
from benchmarks.avmnist.folds import Fold
from benchmarks.results import about, commit
from fusion.batch import Batch

NEIGHBOURS = "k-NN product"
# Coordinated spaces are trained to find, not to tell classes apart: see `retrieval`.
SPACES = {"infonce", "siglip", "dcca", "dgcca", "cca", "barlow-twins", "vicreg"}
NAMES = (*recipe.BASELINES, NEIGHBOURS, *(name for name in fusion.FUSIONS if name not in SPACES))

# Of a worker process, set once: they are too large to travel with each task.
_folds: dict[str, Fold] = {}


def rows(
    found: Sequence[Fold],
    wanted: Sequence[tuple[Any, ...]],
    workers: int,
    row: Callable[..., dict[str, Any]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Train and score each (name, fold, seed); rows come as they are finished.

    row: what is done instead, called with the name, the fold itself and what else a key holds.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, _start, (found,)) as pool:
        tasks = [pool.submit(_task, row or _row, *key) for key in wanted]
        try:
            for task in concurrent.futures.as_completed(tasks):
                yield task.result()
        finally:
            pool.shutdown(cancel_futures=True)  # after an error nobody waits for the others


def wanted(names: Sequence[str], seeds: int, results: dict[str, Any]) -> list[tuple[str, str, int]]:
    """(name, fold, seed) of the rows that are not there yet, whole seeds first."""
    there = {(row["name"], row["fold"], row["seed"]) for row in results["rows"]}
    keys = [
        (name, fold, seed)
        for seed in range(seeds)
        for name in names
        for fold in SPLITS
        if name != NEIGHBOURS or seed == 0  # nothing is random in neighbours
    ]
    return [key for key in keys if key not in there]


def _start(found: Sequence[Fold]) -> None:
    torch.set_num_threads(1)
    _folds.update((fold.name, fold) for fold in found)


def _task(row: Callable[..., dict[str, Any]], name: str, where: str, *rest: Any) -> dict[str, Any]:
    return row(name, _folds[where], *rest)


def _row(name: str, fold: Fold, seed: int) -> dict[str, Any]:
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


def earlier(results: dict[str, Any], setting: dict[str, Any]) -> dict[str, Any]:
    """What earlier calls found, where it was in the same setting."""
    wanted = json.loads(json.dumps(setting))
    same = bool(results) and all(results.get(key) == value for key, value in wanted.items())
    return results if same else {"rows": []}


def merged(results: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """With one more row."""
    rows = [*results["rows"], fresh | {"commit": commit()}]
    rows.sort(key=lambda row: (NAMES.index(row["name"]), row["fold"], row["seed"]))
    return results | this_run() | {"rows": rows}


def this_run() -> dict[str, Any]:
    """What the numbers are of; the commit is each row's own."""
    own = about("avmnist", "torch", "numpy", "scikit-learn") | setting()
    del own["commit"]
    return own


def setting() -> dict[str, Any]:
    """What numbers must share to be compared: the recipe and the pairs."""
    shared = {"dim": recipe.DIM, "hidden": recipe.HIDDEN, "dropout": recipe.DROPOUT}
    return {
        "recipe": asdict(recipe.RECIPE)
        | shared
        | {"label_smoothing": recipe.SMOOTHING, "sizes": recipe.SIZES},
        "pairs": dict(DIGESTS),
    }
