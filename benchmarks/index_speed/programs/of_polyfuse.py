"""polyfuse: `build_index` over the parts of a run, `Run.searcher().search_many` on it.

It takes no effort: the settings are those that the index found by itself when it was built.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import stored
from pipeline import Run, schemas
from pipeline.index.build import build_index
from pipeline.search.searcher import Searcher
from pipeline.store import Snapshot, publish_snapshot, write_part

SHARD = 4096
MEMORY = 8 * 2**30
NAME = "vector"


class System:
    LEAST = 0

    def __init__(self, folder: Path, metric: str, threads: int) -> None:
        self.run, self.metric, self.threads = folder / "run", metric, threads

    def prepare(self, vectors: Path) -> None:
        """A run that holds the vectors, as `polyfuse extract` leaves it."""
        base = np.load(vectors)
        modality = {"kind": "vector", "encoder": {"name": "as-is", "dim": base.shape[1]}}
        index = {"metric": self.metric, "memory": MEMORY}
        stored.save_config(self.run, {NAME: modality}, models={}, index=index)
        parts = []
        for number, start in enumerate(range(0, len(base), SHARD)):
            block = base[start : start + SHARD]
            ids = pa.array([f"r{i:09d}" for i in range(start, start + len(block))])
            there = np.ones(len(block), bool)
            tables = {
                f"features/{NAME}": {
                    "record_id": ids,
                    "vector": schemas.vectors_array(block, there),
                },
                "records": {
                    "record_id": ids,
                    "outcome": pa.array(["ok"] * len(block)),
                    "present": pa.array([[NAME]] * len(block), pa.list_(pa.string())),
                    "price": pa.array(np.arange(start, start + len(block)) / 100),
                },
            }
            for folder, columns in tables.items():
                parts.append((number, write_part(self.run, folder, number, pa.table(columns))))
        publish_snapshot(self.run, parts, {"records": len(base)})

    def build(self, vectors: Path) -> None:
        run = Run(self.run)
        snapshot = Snapshot.latest(self.run)
        build_index(
            NAME,
            snapshot.parts(f"features/{NAME}"),
            snapshot.parts("records"),
            self.run / "index" / NAME,
            metric=self.metric,
            memory=MEMORY,
            snapshot=snapshot,
            identities={NAME: asdict(run.saved.identities[NAME])},
            threads=self.threads,
        )

    def files(self) -> Path:
        return self.run / "index"

    def open(self) -> None:
        self.searcher = Searcher(self.run, NAME, threads=self.threads)

    def search(self, queries: np.ndarray, k: int, effort: int) -> list[list[str]]:
        return self.searcher.search_many(queries, k=k)[0]

    def rows(self, found: list[list[str]]) -> np.ndarray:
        return np.array([[int(name[1:]) for name in names] for names in found])

    def settings(self) -> str:
        manifest = self.searcher.opened.manifest
        return f"{manifest.type}, {dict(manifest.search)}"
