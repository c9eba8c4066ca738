"""hnswlib as its README has it: M 16, ef_construction 200."""

from pathlib import Path

import hnswlib
import numpy as np

M, CONSTRUCTION = 16, 200


class System:
    LEAST = 10  # ef

    def __init__(self, folder: Path, metric: str, threads: int) -> None:
        self.path, self.threads = folder / "index.bin", threads
        self.space = {"l2": "l2", "cosine": "cosine"}[metric]

    def build(self, vectors: Path) -> None:
        base = np.load(vectors)
        index = hnswlib.Index(self.space, base.shape[1])
        index.init_index(len(base), M=M, ef_construction=CONSTRUCTION)
        index.add_items(base, num_threads=self.threads)
        index.save_index(str(self.path))
        self.path.with_name("dim").write_text(str(base.shape[1]))

    def files(self) -> Path:
        return self.path.parent

    def open(self) -> None:
        self.index = hnswlib.Index(self.space, int(self.path.with_name("dim").read_text()))
        self.index.load_index(str(self.path))

    def search(self, queries: np.ndarray, k: int, effort: int) -> np.ndarray:
        self.index.set_ef(effort)
        return self.index.knn_query(queries, k, num_threads=self.threads)[0]

    def rows(self, found: np.ndarray) -> np.ndarray:
        return found.astype(np.int64)

    def settings(self) -> str:
        return f"M {M}, ef_construction {CONSTRUCTION}"
