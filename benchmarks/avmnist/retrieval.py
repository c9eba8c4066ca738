"""Searching pictures by sound and back, searching by both, and sound restored from pictures.

1,000 pairs of the test part are the gallery, 1,000 others ask. Precision@10: how many of the ten
neighbours (FAISS, inner product of unit vectors) show the digit of the query.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor

import fusion
from benchmarks.avmnist.folds import DIMS, Fold
from benchmarks.avmnist.recipe import CLASSES, DIM, RECIPE, Trained, fitted
from fusion import objectives
from fusion.base import Fusion
from fusion.batch import Batch, MemoryFeed
from fusion.learner import train
from fusion.objectives.base import Objective
from fusion.objectives.dropout import drop
from fusion.presence import unit
from fusion.restore import restore
from learning.loop import Recipe

GALLERY, NEIGHBOURS = 1_000, 10
SPACES = ("infonce", "siglip", "dcca", "cca")
MISSING = (0.0, 0.3, 0.6)
NULLS = 0.5  # of the training features, in the run that shows what they cost
# Reconstruction does not learn speakers by heart as a classifier does: longer, hardly any decay.
RESTORING = dataclasses.replace(RECIPE, steps=3000, weight_decay=1e-4)


def measure(fold: Fold, seed: int = 0) -> dict[str, Any]:
    """All numbers of a fold, in percent."""
    spaces = {name: _space(name, fold, seed) for name in SPACES}
    found: dict[str, Any] = {"fold": fold.name, "seed": seed}
    found["spaces"] = {name: _across(space, fold.test) for name, space in spaces.items()}
    best = max(spaces, key=lambda name: sum(found["spaces"][name].values()))
    found["fused"] = {"space": best} | _fused(spaces[best], fold.test)
    return found | {"restored": _restored(fold, seed), "restoring": dataclasses.asdict(RESTORING)}


def _trained(
    name: str, fold: Fold, part: Batch, recipe: Recipe, **options: Any
) -> tuple[Fusion, Objective]:
    torch.manual_seed(recipe.seed)
    model = fusion.build(name, DIMS, dim=DIM)
    goal = objectives.build(fusion.FUSIONS[name].objective or "reconstruct", model, **options)
    train(model, goal, MemoryFeed(part, fold.valid, seed=recipe.seed), recipe)
    return model, goal


def _space(name: str, fold: Fold, seed: int) -> Fusion:
    return _trained(name, fold, fold.train, dataclasses.replace(RECIPE, seed=seed))[0]


def _across(space: Fusion, test: Batch) -> dict[str, float]:
    """From each feature to the other."""
    gallery, asked = _halves(test)
    views = [_views(space, part) for part in (gallery, asked)]
    return {
        f"{a} to {b}": _precision(views[0][b], gallery, views[1][a], asked)
        for a, b in (("image", "sound"), ("sound", "image"))
    }


def _fused(space: Fusion, test: Batch) -> dict[str, Any]:
    """Asking with what a record has, in a gallery of complete records, and with one feature alone."""
    gallery, asked = _halves(test)
    complete = _vectors(space, gallery, gallery.present)
    result: dict[str, Any] = {}
    for rate in MISSING:
        with torch.random.fork_rng():
            torch.manual_seed(round(100 * rate))
            left = drop(asked.present, rate)
        row = {"fused": _precision(complete, gallery, _vectors(space, asked, left), asked)}
        for name in DIMS:
            rows = left[name]
            alone = {other: rows & (other == name) for other in DIMS}
            part, own = asked.rows(rows), {n: mask[rows] for n, mask in alone.items()}
            mixed = {n: mask[rows] for n, mask in left.items()}
            row[f"{name} alone"] = _precision(complete, gallery, _vectors(space, part, own), part)
            row[f"fused, has {name}"] = _precision(
                complete, gallery, _vectors(space, part, mixed), part
            )
        result[f"{rate:.0%}"] = row
    return result


def _restored(fold: Fold, seed: int) -> dict[str, Any]:
    """How often a classifier of sound names the digit of a sound that was restored from the picture."""
    judge = fitted("sound alone", fold, seed)
    image = fitted("image alone", fold, seed)
    found = {"image alone": _right(image, "image", fold.test.features["image"], fold.test)}
    torch.manual_seed(seed)
    hidden = {name: torch.rand(len(fold.train)) >= NULLS for name in DIMS}
    parts = {"complete": fold.train, "half null": _with(fold.train, hidden)}
    options = {"dropout": 0.5, "label": 1.0, "classes": CLASSES}
    recipe = dataclasses.replace(RESTORING, seed=seed)
    for name in ("autoencoder", "vae"):
        for how, part in parts.items():
            model, goal = _trained(name, fold, part, recipe, **options)
            found[f"{name}, {how}"] = _judged(model, goal, judge, fold.test)
    return found


def _judged(model: Fusion, goal: Objective, judge: Trained, test: Batch) -> float:
    present = {"image": test.present["image"], "sound": torch.zeros_like(test.present["sound"])}
    vectors = restore(model, goal, test.features, present).vectors["sound"]
    return _right(judge, "sound", vectors, test)


def _right(model: Trained, name: str, vectors: Tensor, test: Batch) -> float:
    with torch.no_grad():
        said = model.head.predict(model.fusion, {name: vectors}, {name: test.present[name]}).values
    return 100 * float((said == test.targets).float().mean())


def _with(batch: Batch, kept: Mapping[str, Tensor]) -> Batch:
    """Records that lack features; those that lack all are left out."""
    present = {name: batch.present[name] & kept[name] for name in batch.present}
    own = Batch(batch.features, present, batch.targets)
    return own.rows(torch.stack(list(present.values())).any(dim=0))


def _halves(test: Batch) -> tuple[Batch, Batch]:
    """The gallery and those who ask, drawn evenly from the test part."""
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    return test.rows(order[:GALLERY]), test.rows(order[GALLERY : 2 * GALLERY])


def _views(space: Fusion, part: Batch) -> dict[str, np.ndarray]:
    with torch.no_grad():
        views = space(part.features, part.present).views
    return {name: unit(view).numpy() for name, view in views.items()}


def _vectors(space: Fusion, part: Batch, present: Mapping[str, Tensor]) -> np.ndarray:
    with torch.no_grad():
        return unit(space(part.features, present).vector).numpy()


def _precision(vectors: np.ndarray, gallery: Batch, asking: np.ndarray, asked: Batch) -> float:
    """Percent of the neighbours that show the digit of the query."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, np.float32))
    _, rows = index.search(np.ascontiguousarray(asking, np.float32), NEIGHBOURS)
    same = _digits(gallery)[rows] == _digits(asked)[:, None]
    return 100 * float(same.mean())


def _digits(batch: Batch) -> np.ndarray:
    assert batch.targets is not None
    return batch.targets.numpy()


def page(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of docs/results/avmnist.md: means over the folds."""
    if not rows:
        return []

    def mean(*keys: str) -> float:
        return statistics.mean(_at(row, keys) for row in rows)

    text = [
        "## Across the features",
        "",
        f"Precision@{NEIGHBOURS} among {GALLERY:,} pairs of a speaker nobody heard; chance is 10. Mean over",
        f"{len(rows)} of 6 speakers, one seed.",
        "",
        "| space | image to sound | sound to image |",
        "| --- | ---: | ---: |",
    ]
    for name in SPACES:
        both = [mean("spaces", name, way) for way in ("image to sound", "sound to image")]
        text.append(f"| {name} | {both[0]:.1f} | {both[1]:.1f} |")
    text += [
        "",
        "Asking with what a record has, in a gallery of complete pairs; beside it the same records with one",
        "feature alone. The space is the one of the table above that is best on the fold:",
        "",
        "| missing | fused | has image: fused | image alone | has sound: fused | sound alone |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    columns = ("fused", "fused, has image", "image alone", "fused, has sound", "sound alone")
    for rate in MISSING:
        cells = [f"{mean('fused', f'{rate:.0%}', column):.1f}" for column in columns]
        text.append(f"| {rate:.0%} | " + " | ".join(cells) + " |")
    text += [
        "",
        "Sound restored from the picture, named by a classifier of measured sound (percent right; the",
        f"picture's own classifier is the bound). {rows[0]['restoring']['steps']} steps, hardly any decay;",
        f"half null: {NULLS:.0%} of the training features absent.",
        "",
        "| model | right |",
        "| --- | ---: |",
        *(f"| {name} | {mean('restored', name):.1f} |" for name in rows[0]["restored"]),
        "",
    ]
    return text


def _at(row: Mapping[str, Any], keys: Sequence[str]) -> float:
    value: Any = row
    for key in keys:
        value = value[key]
    return value
