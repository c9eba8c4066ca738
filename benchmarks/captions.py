"""Do captions find their photos? Text -> image on 84 photos with five captions each.

    POLYFUSE_TEST_DATA=... python -m benchmarks.captions     measure, write docs/results/captions
    python -m benchmarks.captions --tables                   the page again from the numbers

MobileNetV2 and MiniLM never saw each other's modality; a coordinated space learns from 67 photos and
their captions, and the captions of the other 17 are asked against a gallery of all 84 photos. Five
folds, several times. The set is tiny: differences of a few points mean nothing.
"""

import json
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fusion
from benchmarks import corpora, plain
from benchmarks.results import about, footer, main
from fusion import objectives
from fusion.batch import Batch, MemoryFeed
from fusion.learner import train
from learning.loop import Recipe

SEED = 0
REPEATS = 2
FOLDS = 5
LINEAR = {"dim": 32, "layers": 0}
DEEP = {"dim": 32, "hidden": 128, "layers": 1, "dropout": 0.3}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "cca, ridge 0.01": ("cca", {"dim": 32, "ridge": 0.01}),
    "cca, ridge 0.1": ("cca", {"dim": 32, "ridge": 0.1}),
    "cca, ridge 1": ("cca", {"dim": 32, "ridge": 1.0}),
    "infonce, linear": ("infonce", LINEAR),
    "infonce, one hidden layer": ("infonce", DEEP),
    "siglip, one hidden layer": ("siglip", DEEP),
    "dcca, one hidden layer": ("dcca", DEEP | {"dim": 16}),
    "dgcca, one hidden layer": ("dgcca", DEEP | {"dim": 16}),
    "barlow-twins, one hidden layer": ("barlow-twins", DEEP),
    "vicreg, one hidden layer": ("vicreg", DEEP),
}
RECIPE = Recipe(
    steps=60, batch=320, learning_rate=3e-3, weight_decay=0.1, warmup=10, evaluate=60, seed=SEED
)


def measure(data: Path) -> dict[str, Any]:
    """Everything that the page shows."""
    torch.set_num_threads(1)
    photos, captions, owner = features(data)
    rows = [{"way": "chance"} | chance(len(photos))]
    for way, (name, options) in WAYS.items():
        started = time.perf_counter()
        ranks = np.stack([
            ranks_of(name, options, photos, captions, owner, repeat) for repeat in range(REPEATS)
        ])  # fmt: skip
        rows.append({"way": way, "options": options} | summary(ranks)
                    | {"seconds": time.perf_counter() - started})  # fmt: skip
        print(rows[-1], flush=True)
    return about("captions", "torch", "transformers", "numpy", threads=1) | {
        "seed": SEED,
        "photos": len(photos),
        "captions": len(captions),
        "folds": FOLDS,
        "repeats": REPEATS,
        "rows": rows,
    }


def features(data: Path) -> tuple[Tensor, Tensor, np.ndarray]:
    """Photos (84, D), captions (420, E), and the photo each caption belongs to."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = data / "photos" / "coco_captions" / "coco_captions.tar"
        paths = corpora.pictures(archive, Path(scratch))
        texts = [json.loads(path.with_suffix(".json").read_text())["captions"] for path in paths]
        photos = plain.images(paths, corpora.mobilenet(data)["model"])
    sentences = [sentence for own in texts for sentence in own]
    captions = plain.texts(sentences, corpora.minilm(data)["model"])
    owner = np.repeat(np.arange(len(paths)), [len(own) for own in texts])
    return torch.from_numpy(photos), torch.from_numpy(captions), owner


def ranks_of(
    name: str,
    options: Mapping[str, Any],
    photos: Tensor,
    captions: Tensor,
    owner: np.ndarray,
    repeat: int,
) -> np.ndarray:
    """The rank, from 1, of its photo among all photos for every caption, asked when held out."""
    ranks = np.zeros(len(captions), int)
    for fold, (learnt, asked) in enumerate(folds(len(photos), repeat)):
        known = torch.from_numpy(np.flatnonzero(np.isin(owner, learnt)))
        pairs = {"image": photos[owner[known]], "text": captions[known]}
        present = {key: torch.ones(len(known), dtype=torch.bool) for key in pairs}
        torch.manual_seed(SEED + 100 * repeat + fold)
        model = fusion.build(name, {key: rows.shape[1] for key, rows in pairs.items()}, **options)
        objective = objectives.build(fusion.FUSIONS[name].objective or "", model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            train(model, objective, MemoryFeed(Batch(pairs, present), seed=SEED), RECIPE)
        new = np.flatnonzero(np.isin(owner, asked))
        with torch.inference_mode():
            gallery = model({"image": photos}, {"image": everywhere(len(photos))}).vector
            queries = model({"text": captions[new]}, {"text": everywhere(len(new))}).vector
        scores = (queries @ gallery.T).numpy()
        own = scores[np.arange(len(new)), owner[new]]
        ranks[new] = (scores >= own[:, None]).sum(axis=1)  # a tie counts against
    return ranks


def everywhere(rows: int) -> Tensor:
    return torch.ones(rows, dtype=torch.bool)


def folds(count: int, repeat: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    order = np.random.default_rng(SEED + repeat).permutation(count)
    for asked in np.array_split(order, FOLDS):
        yield np.setdiff1d(order, asked), asked


def summary(ranks: np.ndarray) -> dict[str, float]:
    """ranks: (repeats, captions). The spread is the deviation between the repeats."""
    found = {}
    for k in (1, 5):
        each = 100 * (ranks <= k).mean(axis=1)
        found |= {f"r{k}": float(each.mean()), f"r{k}_spread": float(each.std(ddof=1))}
    return found | {"median": float(np.median(ranks))}


def chance(count: int) -> dict[str, float]:
    return {"r1": 100 / count, "r5": 500 / count, "median": (count + 1) / 2}


def page(results: Mapping[str, Any]) -> str:
    """docs/results/captions.md."""
    lines = [
        "# Captions find photos: a very small test of coordinated spaces",
        "",
        f"{results['photos']} photos with {results['captions']} captions, MobileNetV2 and MiniLM "
        "features. A space learns from",
        f"four of {results['folds']} parts of the photos; the captions of the fifth are asked "
        f"against all {results['photos']} photos,",
        f"{results['repeats']} times over with other parts. **The set is tiny**: one photo is more "
        "than a point, 67 photos are",
        "what is learnt from, and the settings were chosen once, not tuned. The +- is the deviation",
        "between repetitions of the same photos in other parts, not of other photos.",
        "",
        "| space | R@1, % | R@5, % | median rank | seconds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in results["rows"]:
        cells = [
            f"{row[key]:.1f} +- {row[f'{key}_spread']:.1f}"
            if f"{key}_spread" in row
            else f"{row[key]:.1f}"
            for key in ("r1", "r5")
        ]
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else ""
        lines.append(f"| {row['way']} | {' | '.join(cells)} | {row['median']:g} | {seconds} |")
    lines += footer(results, "benchmarks/captions.py")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main("captions", __doc__, measure, page, needs="photos/ and weights/")
