"""Does a vector lose anything on its way through the pipeline?

    POLYFUSE_TEST_DATA=... python -m benchmarks.retrieval      measure, write docs/results/retrieval
    python -m benchmarks.retrieval --tables                    the page again from the numbers

Three sets, each embedded end to end by `polyfuse run` and, where a plain program exists, by a dozen
lines of transformers on the same files:
- photos of 51 classes (Caltech-101), MobileNetV2: leave-one-out 1-nearest-neighbour accuracy;
- environmental sounds of 10 classes (ESC-10), YAMNet: 1-NN accuracy of fold 3 among folds 1 and 2
  (clips of one recording share a fold), beside the classical descriptor;
- caption pairs (STS), MiniLM: Spearman correlation of the cosine with people's judgement.
"""

import csv
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks import corpora, plain
from benchmarks.results import about, footer, main


def measure(data: Path) -> dict[str, Any]:
    """Everything that the page shows."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            *photos(data, Path(scratch, "photos")),
            *sounds(data, Path(scratch, "sounds")),
            *captions(data, Path(scratch, "captions")),
        ]
    return about("retrieval", "torch", "transformers", "ray", "av", "pillow", "numpy") | {
        "seed": None,  # nothing is drawn at random
        "rows": rows,
    }


# -- photos


def photos(data: Path, scratch: Path) -> list[dict[str, Any]]:
    scratch.mkdir()
    corpus = corpora.photos(data, scratch)
    labels = corpus.classes
    encoder = corpora.mobilenet(data)
    ours, seconds = corpora.embed(scratch, "image", corpus.files, encoder)
    started = time.perf_counter()
    theirs = plain.images([scratch / file for file in corpus.files], encoder["model"])
    shared = {"set": "Caltech-101 photos", "count": len(labels), "measure": "1-NN accuracy"}
    return [
        shared | {"way": "plain transformers, MobileNetV2", "value": nearest(theirs, labels),
                  "seconds": time.perf_counter() - started},
        shared | {"way": "polyfuse, MobileNetV2", "value": nearest(ours, labels),
                  "seconds": seconds, "lowest_cosine": lowest_cosine(ours, theirs)},
    ]  # fmt: skip


# -- sounds


def sounds(data: Path, scratch: Path) -> list[dict[str, Any]]:
    scratch.mkdir()
    corpus = corpora.sounds(data, scratch)
    rows = []
    for way, encoder in (
        ("polyfuse, YAMNet", corpora.yamnet(data)),
        ("polyfuse, logmel-stats", {"name": "logmel-stats"}),
    ):
        ours, seconds = corpora.embed(scratch, "audio", corpus.files, encoder)
        rows.append({
            "set": "ESC-10 sounds", "count": len(corpus.files),
            "measure": "1-NN accuracy, fold 3 among folds 1 and 2",
            "way": way, "value": nearest(ours, corpus.classes, asked=corpus.groups == 3),
            "seconds": seconds,
        })  # fmt: skip
    return rows


# -- captions


def captions(data: Path, scratch: Path) -> list[dict[str, Any]]:
    scratch.mkdir()
    with (data / "text" / "sts_captions" / "sts_captions.csv").open(encoding="utf-8") as file:
        pairs = [row for row in csv.DictReader(file) if row["split"] == "dev"]
    sentences = sorted({row[side] for row in pairs for side in ("sentence1", "sentence2")})
    place = {sentence: n for n, sentence in enumerate(sentences)}
    encoder = corpora.minilm(data)
    ours, seconds = corpora.embed(scratch, "text", sentences, encoder)
    started = time.perf_counter()
    theirs = plain.texts(sentences, encoder["model"])
    plain_seconds = time.perf_counter() - started
    left, right = (
        np.array([place[row[side]] for row in pairs]) for side in ("sentence1", "sentence2")
    )
    judged = [float(row["score"]) for row in pairs]

    def correlation(vectors: np.ndarray) -> float:
        unit = normalised(vectors)
        return float(spearmanr((unit[left] * unit[right]).sum(axis=1), judged).statistic)

    shared = {"set": "STS caption pairs", "count": len(pairs), "measure": "Spearman"}
    return [
        shared | {"way": "plain transformers, MiniLM", "value": correlation(theirs),
                  "seconds": plain_seconds},
        shared | {"way": "polyfuse, MiniLM", "value": correlation(ours), "seconds": seconds,
                  "lowest_cosine": lowest_cosine(ours, theirs)},
    ]  # fmt: skip


# -- both


def nearest(vectors: np.ndarray, labels: np.ndarray, asked: np.ndarray | None = None) -> float:
    """1-NN accuracy by cosine: of each item among all others, or of those `asked` among the rest."""
    unit = normalised(vectors)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    if asked is None:
        asked = np.ones(len(labels), bool)
    else:
        scores[:, asked] = -np.inf
    return float((labels[scores.argmax(axis=1)] == labels)[asked].mean())


def normalised(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def lowest_cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float((normalised(first) * normalised(second)).sum(axis=1).min())


def page(results: Mapping[str, Any]) -> str:
    """docs/results/retrieval.md."""
    lines = [
        "# What is lost on the way through the pipeline: retrieval",
        "",
        "The same files embedded by `polyfuse run` and by a plain program on the same model. The",
        "lowest cosine is the worst agreement between the two vectors of any one item. Seconds",
        "include the start of Ray and of the models, the index and everything that is written.",
        "",
        "| set | items | way | measure | value | lowest cosine | seconds |",
        "| --- | ---: | --- | --- | ---: | ---: | ---: |",
    ]
    for row in results["rows"]:
        agreement = f"{row['lowest_cosine']:.6f}" if "lowest_cosine" in row else ""
        lines.append(
            f"| {row['set']} | {row['count']} | {row['way']} | {row['measure']} "
            f"| {row['value']:.4f} | {agreement} | {row['seconds']:.0f} |"
        )
    lines += footer(results, "benchmarks/retrieval.py")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main("retrieval", __doc__, measure, page, needs="photos/, esc10/ and text/")
