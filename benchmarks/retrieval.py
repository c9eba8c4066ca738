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
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image
from scipy.stats import spearmanr

from benchmarks.results import ROOT, about, footer, main
from pipeline import Run

MODELS = Path("weights", "hf")


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
    with tarfile.open(data / "photos" / "caltech101" / "caltech101.tar") as tar:
        tar.extractall(scratch, filter="data")
    paths = sorted(scratch.rglob("*.jpg"))
    table = [
        {"id": f"{n:05d}", "photo": str(path.relative_to(scratch))} for n, path in enumerate(paths)
    ]
    labels = np.array([path.parent.name for path in paths])
    model = data / MODELS / "mobilenet_v2_1.0_224"
    encoder = {"name": "transformers", "model": str(model)}
    ours, seconds = through_polyfuse(scratch, table, "image", "photo", encoder)
    started = time.perf_counter()
    plain = plain_images(paths, model)
    shared = {"set": "Caltech-101 photos", "count": len(labels), "measure": "1-NN accuracy"}
    return [
        shared | {"way": "plain transformers, MobileNetV2", "value": nearest(plain, labels),
                  "seconds": time.perf_counter() - started},
        shared | {"way": "polyfuse, MobileNetV2", "value": nearest(ours, labels),
                  "seconds": seconds, "lowest_cosine": lowest_cosine(ours, plain)},
    ]  # fmt: skip


def plain_images(paths: Sequence[Path], model: Path) -> np.ndarray:
    from transformers import AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(model)
    network = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    vectors = []
    for start in range(0, len(paths), 16):
        pictures = [Image.open(path).convert("RGB") for path in paths[start : start + 16]]
        with torch.inference_mode():
            output = network(**processor(pictures, return_tensors="pt"))
        vectors.append(output.pooler_output.flatten(1).numpy())
    return np.concatenate(vectors)


# -- sounds


def sounds(data: Path, scratch: Path) -> list[dict[str, Any]]:
    (scratch / "clips").mkdir(parents=True)
    clips = pq.read_table(data / "esc10" / "esc10.parquet").sort_by("path").to_pylist()
    table = []
    for number, clip in enumerate(clips):
        name = f"clips/{number:05d}.ogg"
        (scratch / name).write_bytes(clip["audio"])
        table.append({"id": f"{number:05d}", "sound": name})
    labels = np.array([clip["label"] for clip in clips])
    folds = np.array([clip["fold"] for clip in clips])
    yamnet = {"name": "yamnet", "weights": str(data / "weights" / "yamnet.safetensors")}
    rows = []
    for way, encoder in (
        ("polyfuse, YAMNet", yamnet),
        ("polyfuse, logmel-stats", {"name": "logmel-stats"}),
    ):
        ours, seconds = through_polyfuse(scratch, table, "audio", "sound", encoder)
        rows.append({
            "set": "ESC-10 sounds", "count": len(labels),
            "measure": "1-NN accuracy, fold 3 among folds 1 and 2",
            "way": way, "value": nearest(ours, labels, asked=folds == 3), "seconds": seconds,
        })  # fmt: skip
    return rows


# -- captions


def captions(data: Path, scratch: Path) -> list[dict[str, Any]]:
    scratch.mkdir()
    with (data / "text" / "sts_captions" / "sts_captions.csv").open(encoding="utf-8") as file:
        pairs = [row for row in csv.DictReader(file) if row["split"] == "dev"]
    sentences = sorted({row[side] for row in pairs for side in ("sentence1", "sentence2")})
    place = {sentence: n for n, sentence in enumerate(sentences)}
    table = [{"id": f"{n:05d}", "title": sentence} for n, sentence in enumerate(sentences)]
    model = data / MODELS / "all-MiniLM-L6-v2"
    encoder = {"name": "transformers", "model": str(model), "pooling": "mean"}
    ours, seconds = through_polyfuse(scratch, table, "text", "title", encoder)
    started = time.perf_counter()
    plain = plain_texts(sentences, model)
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
        shared | {"way": "plain transformers, MiniLM", "value": correlation(plain),
                  "seconds": plain_seconds},
        shared | {"way": "polyfuse, MiniLM", "value": correlation(ours), "seconds": seconds,
                  "lowest_cosine": lowest_cosine(ours, plain)},
    ]  # fmt: skip


def plain_texts(sentences: Sequence[str], model: Path) -> np.ndarray:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    vectors = []
    for start in range(0, len(sentences), 32):
        batch = tokenizer(
            list(sentences[start : start + 32]), padding=True, truncation=True, max_length=256,
            return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            states = network(**batch).last_hidden_state  # (B, T, D)
        mask = batch["attention_mask"][..., None].float()
        vectors.append(((states * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(vectors)


# -- both


def through_polyfuse(
    scratch: Path,
    table: Sequence[Mapping[str, str]],
    kind: str,
    column: str,
    encoder: Mapping[str, Any],
) -> tuple[np.ndarray, float]:
    """A table -> `polyfuse run` -> (N, D) vectors in the table's order, and the seconds it took."""
    with (scratch / "records.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    config = {
        "source": {"path": "records.csv", "id": "id"},
        "modalities": {"it": {"kind": kind, "column": column, "encoder": dict(encoder)}},
        "output": f"runs/{encoder['name']}",
        "precision": "fp32",  # as the plain program
    }
    (scratch / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    started = time.perf_counter()
    command = [sys.executable, "-m", "jobs.cli", "run", str(scratch / "run.yaml")]
    subprocess.run(command, check=True, cwd=ROOT)
    seconds = time.perf_counter() - started
    record_ids, vectors = Run(scratch / config["output"]).vectors("it")
    order = {record_id: row for row, record_id in enumerate(record_ids)}
    vectors = vectors[[order[row["id"]] for row in table]]
    if np.isnan(vectors).any():
        sys.exit(f"{int(np.isnan(vectors).any(axis=1).sum())} records of {scratch.name} failed")
    return vectors, seconds


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
