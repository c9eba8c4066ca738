"""Exact search: every vector is compared, by FAISS's IndexFlat."""

from pathlib import Path

import faiss
import numpy as np


class System:
    LEAST = 0

    def __init__(self, folder: Path, metric: str, threads: int) -> None:
        self.path = folder / "index.faiss"
        self.metric = {"l2": faiss.METRIC_L2, "cosine": faiss.METRIC_INNER_PRODUCT}[metric]
        faiss.omp_set_num_threads(threads)

    def build(self, vectors: Path) -> None:
        base = np.load(vectors)
        index = faiss.IndexFlat(base.shape[1], self.metric)
        index.add(base)
        faiss.write_index(index, str(self.path))

    def files(self) -> Path:
        return self.path.parent

    def open(self) -> None:
        self.index = faiss.read_index(str(self.path))

    def search(self, queries: np.ndarray, k: int, effort: int) -> np.ndarray:
        return self.index.search(queries, k)[1]

    def rows(self, found: np.ndarray) -> np.ndarray:
        return found

    def settings(self) -> str:
        return "nothing to set"
