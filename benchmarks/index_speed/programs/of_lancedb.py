"""LanceDB, local tables: its default index (IVF_PQ), whole vectors, and its graph.

Threads are limited by the environment that `systems` gives the process.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

os.environ.setdefault("RUST_LOG", "error")  # it warns of its own defaults, once per query
import lancedb
from lancedb.index import HnswSq, IvfFlat, IvfPq


class System:
    """The default: product quantised; effort is the refine factor."""

    LEAST = 1
    INDEX = IvfPq
    PARTITIONS = 20  # its own default of nprobes

    def __init__(self, folder: Path, metric: str, threads: int) -> None:
        self.folder, self.metric = folder / type(self).INDEX.__name__, metric

    def build(self, vectors: Path) -> None:
        base = np.load(vectors)
        flat = pa.FixedSizeListArray.from_arrays(base.reshape(-1), base.shape[1])
        table = lancedb.connect(self.folder).create_table(
            "vectors", pa.table({"id": np.arange(len(base)), "vector": flat}), mode="overwrite"
        )
        table.create_index("vector", config=self.INDEX(distance_type=self.metric))
        table.wait_for_index([index.name for index in table.list_indices()])

    def files(self) -> Path:
        return self.folder

    def open(self) -> None:
        self.table = lancedb.connect(self.folder).open_table("vectors")

    def search(self, queries: np.ndarray, k: int, effort: int) -> pa.Table:
        asked = queries[0] if len(queries) == 1 else list(queries)
        wanted = self.table.search(asked, vector_column_name="vector").limit(k)
        wanted = self.look(wanted.distance_type(self.metric).select(["id", "_distance"]), effort)
        return wanted.to_arrow()

    def look(self, query: Any, effort: int) -> Any:
        return query.nprobes(self.PARTITIONS).refine_factor(effort)

    def rows(self, found: pa.Table) -> np.ndarray:
        if "query_index" in found.column_names:
            found = found.sort_by([("query_index", "ascending"), ("_distance", "ascending")])
        return found["id"].to_numpy().reshape(-1, 10)

    def settings(self) -> str:
        return f"its defaults; nprobes {self.PARTITIONS}, refine factor tuned"


class Whole(System):
    """Inverted lists of whole vectors; effort is nprobes."""

    INDEX = IvfFlat

    def look(self, query: Any, effort: int) -> Any:
        return query.nprobes(effort)

    def settings(self) -> str:
        return "its defaults; nprobes tuned"


class Graph(System):
    """HNSW over 8-bit vectors in lists; effort is ef, twice as many candidates compared again."""

    LEAST = 20
    INDEX = HnswSq

    def look(self, query: Any, effort: int) -> Any:
        return query.nprobes(self.PARTITIONS).refine_factor(2).ef(effort)

    def settings(self) -> str:
        return f"its defaults; nprobes {self.PARTITIONS}, refine factor 2, ef tuned"
