"""usearch by its defaults (connectivity 16, expansion_add 128), vectors kept as float32."""

from pathlib import Path

import numpy as np
from usearch.index import Index


class System:
    LEAST = 10  # expansion_search

    def __init__(self, folder: Path, metric: str, threads: int) -> None:
        self.path, self.threads = folder / "index.usearch", threads
        self.metric = {"l2": "l2sq", "cosine": "cos"}[metric]

    def build(self, vectors: Path) -> None:
        base = np.load(vectors)
        index = Index(ndim=base.shape[1], metric=self.metric, dtype="f32")
        index.add(np.arange(len(base)), base, threads=self.threads)
        index.save(str(self.path))

    def files(self) -> Path:
        return self.path.parent

    def open(self) -> None:
        self.index = Index.restore(str(self.path))

    def search(self, queries: np.ndarray, k: int, effort: int) -> np.ndarray:
        self.index.expansion_search = effort
        return self.index.search(queries, k, threads=self.threads).keys

    def rows(self, found: np.ndarray) -> np.ndarray:
        return np.atleast_2d(found).astype(np.int64)

    def settings(self) -> str:
        return f"connectivity {self.index.connectivity}, expansion_add {self.index.expansion_add}"
