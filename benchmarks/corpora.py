"""Real photos and sounds with their classes, the models that describe them, and `polyfuse run`."""

import csv
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from benchmarks.results import ROOT
from pipeline import Run


@dataclass(frozen=True)
class Corpus:
    """Files, named from their folder on; the class (N,) of each.

    groups: (N,), of records that must not be split between training and test.
    """

    files: list[str]
    classes: np.ndarray
    groups: np.ndarray | None = None


def photos(data: Path, folder: Path) -> Corpus:
    """51 classes of Caltech-101."""
    paths = pictures(data / "photos" / "caltech101" / "caltech101.tar", folder)
    classes = np.array([path.parent.name for path in paths])
    return Corpus([str(path.relative_to(folder)) for path in paths], classes)


def sounds(data: Path, folder: Path) -> Corpus:
    """10 classes of ESC-10; the groups are its folds: clips of one recording share a fold."""
    (folder / "clips").mkdir()
    clips = pq.read_table(data / "esc10" / "esc10.parquet").sort_by("path").to_pylist()
    files = [f"clips/{number:05d}.ogg" for number in range(len(clips))]
    for file, clip in zip(files, clips, strict=True):
        (folder / file).write_bytes(clip["audio"])
    return Corpus(files, *(np.array([clip[key] for clip in clips]) for key in ("label", "fold")))


def pictures(tar: Path, folder: Path) -> list[Path]:
    """The photos of an archive, unpacked."""
    with tarfile.open(tar) as archive:
        archive.extractall(folder)
    return sorted(folder.rglob("*.jpg"))


# -- encoders, as a configuration names them


def mobilenet(data: Path) -> dict[str, str]:
    return {"name": "transformers", "model": str(data / "weights/hf/mobilenet_v2_1.0_224")}


def minilm(data: Path) -> dict[str, str]:
    model = str(data / "weights/hf/all-MiniLM-L6-v2")
    return {"name": "transformers", "model": model, "pooling": "mean"}


def yamnet(data: Path) -> dict[str, str]:
    return {"name": "yamnet", "weights": str(data / "weights/yamnet.safetensors")}


def embed(
    folder: Path, kind: str, cells: Sequence[str], encoder: Mapping[str, Any]
) -> tuple[np.ndarray, float]:
    """Files in the folder, or texts -> `polyfuse run` -> (N, D) vectors in their order, and seconds."""
    record_ids = [f"{n:05d}" for n in range(len(cells))]
    with (folder / "records.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", kind])
        writer.writerows(zip(record_ids, cells, strict=True))
    config = {
        "source": {"path": "records.csv", "id": "id"},
        "modalities": {"it": {"kind": kind, "column": kind, "encoder": dict(encoder)}},
        "output": f"runs/{encoder['name']}",
        "precision": "fp32",  # as the plain program
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    started = time.perf_counter()
    command = [sys.executable, "-m", "jobs.cli", "run", str(folder / "run.yaml")]
    subprocess.run(command, check=True, cwd=ROOT)
    seconds = time.perf_counter() - started
    stored_ids, vectors = Run(folder / config["output"]).vectors("it")
    row = {record_id: n for n, record_id in enumerate(stored_ids)}
    vectors = vectors[[row[record_id] for record_id in record_ids]]
    if failed := int(np.isnan(vectors).any(axis=1).sum()):
        sys.exit(f"{failed} records of {folder.name} failed")
    return vectors, seconds
