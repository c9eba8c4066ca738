"""Is a head of ours as good as scikit-learn's logistic regression on the same vectors?

    POLYFUSE_TEST_DATA=... python -m benchmarks.heads      measure, write docs/results/heads
    python -m benchmarks.heads --tables                    the page again from the numbers

Vectors are made by `polyfuse run` once per set. Every split keeps a test part; of the rest an eighth
is the validation part, which stops our training, picks from the grid and calibrates, and picks C for
logistic regression, which is then fitted on both parts: all records that are not tested.
- photos of 51 classes (Caltech-101), MobileNetV2, and bank customers' questions of 77 intents
  (Banking77), MiniLM: stratified fifths, each or three of them as the test part;
- environmental sounds of 10 classes (ESC-10), YAMNet: each fold once (clips of one recording share a
  fold), with several validation parts.
"""

import csv
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fusion
from benchmarks import corpora
from benchmarks.results import about, footer, main
from fusion import objectives
from fusion.batch import Batch, MemoryFeed
from fusion.learner import train
from learning.loop import Recipe
from learning.metrics import classification

GRID = [
    (1e-3, 1e-4),
    (1e-2, 1e-4),
    (1e-2, 1.0),
]  # learning rate, weight decay; the first: the recipe
STRENGTHS = [0.1, 1.0, 10.0]
OURS = "polyfuse linear head"


@dataclass(frozen=True, eq=False)  # known by identity: arrays have no hash
class Labelled:
    """Vectors (N, D), class numbers (N,), and the group of each record where groups must not be split."""

    name: str
    vectors: np.ndarray
    classes: np.ndarray
    groups: np.ndarray | None = None


@dataclass(frozen=True, eq=False)  # known by identity: arrays have no hash
class Split:
    """Row numbers."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @property
    def known(self) -> np.ndarray:
        return np.concatenate([self.train, self.valid])


def measure(data: Path) -> dict[str, Any]:
    """Everything that the page shows."""
    torch.set_num_threads(1)
    rows = []
    for load in (photos, sounds, questions):
        with tempfile.TemporaryDirectory() as scratch:
            rows += contest(load(data, Path(scratch)))
    packages = ("torch", "scikit-learn", "transformers", "numpy")
    return about("heads", *packages, threads=1) | {"rows": rows}


# -- the three sets


def photos(data: Path, scratch: Path) -> Labelled:
    corpus = corpora.photos(data, scratch)
    vectors, _ = corpora.embed(scratch, "image", corpus.files, corpora.mobilenet(data))
    return Labelled("Caltech-101, MobileNetV2", vectors, numbered(corpus.classes))


def sounds(data: Path, scratch: Path) -> Labelled:
    corpus = corpora.sounds(data, scratch)
    vectors, _ = corpora.embed(scratch, "audio", corpus.files, corpora.yamnet(data))
    return Labelled("ESC-10, YAMNet", vectors, numbered(corpus.classes), corpus.groups)


def questions(data: Path, scratch: Path) -> Labelled:
    with (data / "text" / "banking77" / "banking77.csv").open(encoding="utf-8") as file:
        asked = list(csv.DictReader(file))
    sentences = [row["text"] for row in asked]
    vectors, _ = corpora.embed(scratch, "text", sentences, corpora.minilm(data))
    return Labelled(
        "Banking77, MiniLM", vectors, numbered(np.array([row["label"] for row in asked]))
    )


def numbered(names: np.ndarray) -> np.ndarray:
    return np.unique(names, return_inverse=True)[1]


def splits(labelled: Labelled) -> Iterator[Split]:
    """At least three, the same every time."""
    y, groups = labelled.classes, labelled.groups
    for seed in range(1 if groups is None else 2):
        if groups is None:
            fifths = StratifiedKFold(5, shuffle=True, random_state=seed).split(y, y)
            tested = [test for _, test in fifths][: 5 if len(y) < 5000 else 3]
        else:
            tested = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        for test in tested:
            rest = np.setdiff1d(np.arange(len(y)), test)
            learn, valid = train_test_split(
                rest, test_size=1 / 8, stratify=y[rest], random_state=seed
            )
            yield Split(learn, valid, test)


# -- the contest


def contest(labelled: Labelled) -> list[dict[str, Any]]:
    """One row per way: mean accuracy over the splits, and the difference to ours, split by split."""
    ways: dict[str, Callable[[Labelled, Split], np.ndarray]] = {
        f"{OURS}, the recipe": lambda d, s: head(d, s, GRID[:1]),
        f"{OURS}, of {len(GRID)} on the validation part": lambda d, s: head(d, s, GRID),
        "LogisticRegression, C = 1": lambda d, s: logistic(d, s, [1.0]),
        "LogisticRegression, C on the validation part": lambda d, s: logistic(d, s, STRENGTHS),
        "the same, standardised": lambda d, s: logistic(d, s, STRENGTHS, standardised=True),
    }
    parts = list(splits(labelled))
    rows = []
    for way, answer in ways.items():
        found = [
            classification(
                torch.tensor(answer(labelled, split)),
                torch.tensor(labelled.classes[split.test]),
                draws=1,
            )
            for split in parts
        ]
        names = ("accuracy", "log loss", "calibration error")
        rows.append(
            {"set": labelled.name, "records": len(labelled.classes), "splits": len(parts)}
            | {"way": way}
            | {name: [measured[name].value for measured in found] for name in names}
        )
        print(labelled.name, way, np.mean(rows[-1]["accuracy"]), flush=True)
    return rows


def head(labelled: Labelled, split: Split, grid: list[tuple[float, float]]) -> np.ndarray:
    """Probabilities (N, K) of the test records from the grid's best by validation loss."""
    return min((trained(labelled, split, *setting) for setting in grid), key=lambda run: run[0])[1]


@functools.cache
def trained(
    labelled: Labelled, split: Split, learning_rate: float, weight_decay: float
) -> tuple[float, np.ndarray]:
    """The validation loss and the probabilities (N, K) of the test records."""
    records = Batch(
        {"it": torch.tensor(labelled.vectors, dtype=torch.float32)},
        {"it": torch.ones(len(labelled.classes), dtype=torch.bool)},
        torch.tensor(labelled.classes),
    )
    learn, valid, test = (
        records.rows(torch.tensor(rows)) for rows in (split.train, split.valid, split.test)
    )
    torch.manual_seed(0)
    model = fusion.build("stack", {"it": labelled.vectors.shape[1]})
    classify = objectives.build("classify", model, classes=int(labelled.classes.max()) + 1)
    recipe = Recipe(learning_rate=learning_rate, weight_decay=weight_decay)
    history = train(model, classify, MemoryFeed(learn, valid), recipe, frozen=True)
    with torch.no_grad():
        found = classify.predict(model, test.features, test.present).probabilities
    assert found is not None
    losses = [point.valid for point in history.points if point.valid is not None]
    return min(losses), found.double().numpy()


def logistic(
    labelled: Labelled, split: Split, strengths: list[float], *, standardised: bool = False
) -> np.ndarray:
    """Probabilities (N, K) of the test records; the best C by validation accuracy, fitted on both parts."""
    x, y = labelled.vectors.astype(np.float64), labelled.classes

    def fitted(strength: float, rows: np.ndarray) -> Any:
        model = LogisticRegression(C=strength, max_iter=1000)
        if standardised:
            model = make_pipeline(StandardScaler(), model)
        return model.fit(x[rows], y[rows])

    best = strengths[0]
    if len(strengths) > 1:
        best = max(
            strengths, key=lambda c: fitted(c, split.train).score(x[split.valid], y[split.valid])
        )
    return fitted(best, split.known).predict_proba(x[split.test])


def page(results: Mapping[str, Any]) -> str:
    """docs/results/heads.md."""
    lines = [
        "# Heads: ours and logistic regression on the same vectors",
        "",
        "Test accuracy in percent, mean over the splits. Behind: how far our head, picked from the",
        "grid, is below that way in points, mean over the same splits and its standard error; more than",
        "half a point would be a defect. Logistic regression learns from the validation records too,",
        "once they have picked its C; our head never does.",
        "",
        "| set | splits | way | accuracy | behind | log loss | calibration error |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    ours = {row["set"]: row for row in results["rows"] if row["way"].startswith(OURS)}
    for row in results["rows"]:
        lines.append(
            f"| {row['set']} | {row['splits']} | {row['way']} | {100 * np.mean(row['accuracy']):.2f} "
            f"| {_behind(row, ours[row['set']])} | {np.mean(row['log loss']):.3f} "
            f"| {np.mean(row['calibration error']):.3f} |"
        )
    lines += footer(results, "benchmarks/heads.py", results.get("note"))
    return "\n".join(lines) + "\n"


def _behind(row: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    if row["way"].startswith(OURS):
        return ""
    points = 100 * (np.array(row["accuracy"]) - np.array(ours["accuracy"]))
    return f"{points.mean():+.2f} ± {points.std(ddof=1) / np.sqrt(len(points)):.2f}"


if __name__ == "__main__":
    main("heads", __doc__, measure, page, needs="photos/, esc10/ and text/")
