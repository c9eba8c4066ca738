"""FAISS by itself, in our environment: the graph that polyfuse builds, without polyfuse around it."""

from pathlib import Path

import faiss
import numpy as np

M, CONSTRUCTION = 24, 200


class System:
    LEAST = 10  # efSearch

    def __init__(self, folder: Path, metric: str, threads: int) -> None:
        self.path = folder / "index.faiss"
        self.metric = {"l2": faiss.METRIC_L2, "cosine": faiss.METRIC_INNER_PRODUCT}[metric]
        faiss.omp_set_num_threads(threads)

    def build(self, vectors: Path) -> None:
        base = np.load(vectors)
        index = self.empty(base.shape[1])
        index.add(base)
        faiss.write_index(index, str(self.path))

    def empty(self, dim: int) -> faiss.Index:
        index = faiss.IndexHNSWFlat(dim, M, self.metric)
        index.hnsw.efConstruction = CONSTRUCTION
        return index

    def files(self) -> Path:
        return self.path.parent

    def open(self) -> None:
        self.index = faiss.read_index(str(self.path))

    def search(self, queries: np.ndarray, k: int, effort: int) -> np.ndarray:
        return self.index.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=effort))[1]

    def rows(self, found: np.ndarray) -> np.ndarray:
        return found

    def settings(self) -> str:
        return f"M {M}, efConstruction {CONSTRUCTION}"
