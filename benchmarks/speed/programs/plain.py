"""transformers in fp32, a small batch after the other: what all vectors are compared with."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.programs import common, models

_BATCH = 8


def main() -> None:
    given = common.setting()
    rows = common.rows(given)
    parts = [
        encoded(modality, model, [row[modality] for row in rows])
        for modality, model in given["models"].items()
    ]
    common.save(given["output"], [row["id"] for row in rows], np.concatenate(parts, axis=1))


def encoded(modality: str, model: str, cells: list[str]) -> np.ndarray:
    """(N, D) of texts or paths."""
    if modality == "text":
        texts = models.Texts(model, torch.float32)
        return np.concatenate([texts(cells[n : n + _BATCH]) for n in range(0, len(cells), _BATCH)])
    files = map(Path, cells)
    if modality == "audio":
        sounds = models.Sounds(model, torch.float32)
        return np.concatenate([sounds([file.read_bytes()]) for file in files])
    pictures = models.Pictures(model, torch.float32)
    vectors: list[Any] = []
    for file in files:
        content = file.read_bytes()
        found = [models.decoded(content)] if modality == "image" else models.frames(content)
        vectors.append(pictures(found).mean(axis=0))
    return np.stack(vectors)


if __name__ == "__main__":
    main()
