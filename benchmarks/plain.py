"""Vectors as a plain program makes them: a dozen lines of transformers, no pipeline."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def images(paths: Sequence[Path], model: str) -> np.ndarray:
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


def texts(sentences: Sequence[str], model: str) -> np.ndarray:
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
