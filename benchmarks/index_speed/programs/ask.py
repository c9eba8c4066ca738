"""One system in a process of its own; what it finds is printed as JSON.

    python ask.py SYSTEM METRIC:SET FOLDER THREADS prepare|build
    python ask.py SYSTEM METRIC:SET FOLDER THREADS tune RECALL
    python ask.py SYSTEM METRIC:SET FOLDER THREADS single|batch EFFORT SECONDS

SYSTEM is module:Class of a file of_<module>.py; it needs numpy and its own library only. An
effort is its search parameter (how far it looks); 0 where a system has set it itself. Rates are wall
clock, beside the processor time of all threads, which other processes on the machine disturb less.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

K = 10
HIGHEST = 4096
BATCH = 1000
_WARM = 10.0  # seconds
TOLERANCE = 1e-5  # of the squared distance: equal distances, rounded


def main() -> None:
    name, vectors, folder, threads, task, *rest = sys.argv[1:]
    module, kind = name.split(":")
    if threads == "1":  # and so for every thread that a library starts
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    metric, vectors = vectors.split(":")
    asked = Asked(
        getattr(importlib.import_module(f"of_{module}"), kind), Path(vectors), Path(folder), metric
    )
    found = getattr(asked, task)(int(threads), *map(float, rest))
    print(json.dumps(found | {"peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    """The most memory this program held. `getrusage` also counts what its parent held before it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


class Asked:
    """A system, its folder, and the set."""

    def __init__(self, system: type, vectors: Path, folder: Path, metric: str) -> None:
        self.system, self.vectors, self.folder, self.metric = system, vectors, folder, metric

    def prepare(self, threads: int) -> dict:
        """Lay the vectors down where a system reads them from; most read base.npy."""
        system = self.system(self.folder, self.metric, threads)
        if hasattr(system, "prepare"):
            system.prepare(self.vectors / "base.npy")
        return {}

    def build(self, threads: int) -> dict:
        """From vectors on disk to an index on disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        system = self.system(self.folder, self.metric, threads)
        start, cpu = time.perf_counter(), time.process_time()
        system.build(self.vectors / "base.npy")
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        size = sum(f.stat().st_size for f in system.files().rglob("*") if f.is_file())
        return {"seconds": seconds, "cpu": cpu, "disk_mb": size / 2**20}

    def tune(self, threads: int, target: float) -> dict:
        """The least effort with that recall@10 on the queries that are asked then, by doubling and
        bisection: others may need a little more or less, and all shall be compared at equal recall."""
        system = self._opened(threads)
        queries = np.load(self.vectors / "asked.npy")

        def recall(effort: int) -> float:
            found = system.rows(system.search(queries, K, effort))
            return self._recall(queries, found)

        if system.LEAST == 0:
            return {"effort": 0, "recall": recall(0), "settings": system.settings()}
        low, high = system.LEAST - 1, system.LEAST  # less is an error in some
        while (value := recall(high)) < target and high < HIGHEST:
            low, high = high, 2 * high
        while high - low > max(1, high // 32):
            middle = (low + high) // 2
            if (found := recall(middle)) >= target:
                high, value = middle, found
            else:
                low = middle
        return {"effort": high, "recall": value, "settings": system.settings()}

    def single(self, threads: int, effort: float, seconds: float) -> dict:
        """One query after the other."""
        system, queries = self._opened(threads), np.load(self.vectors / "asked.npy")
        rows = [queries[i : i + 1] for i in range(len(queries))]
        self._warm(system, queries, int(effort))
        took, found = [], []
        cpu, start = time.process_time(), time.perf_counter()
        for row in rows:
            before = time.perf_counter()
            found.append(system.search(row, K, int(effort)))
            took.append(time.perf_counter() - before)
            if before - start > seconds:
                break
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        near = np.concatenate([system.rows(one) for one in found])
        p50, p99 = np.percentile(took, [50, 99])
        return {
            "queries": len(took),
            "qps": len(took) / wall,
            "cpu_us": 1e6 * cpu / len(took),
            "p50_us": 1e6 * p50,
            "p99_us": 1e6 * p99,
            "recall": self._recall(queries[: len(took)], near),
        }

    def batch(self, threads: int, effort: float, seconds: float) -> dict:
        """Many queries in one call, as often as there is time for."""
        system, queries = self._opened(threads), np.load(self.vectors / "asked.npy")
        self._warm(system, queries, int(effort))
        queries = queries[:BATCH]
        took, spent = [], []
        while not took or sum(took) + took[-1] < seconds:
            cpu, start = time.process_time(), time.perf_counter()
            found = system.search(queries, K, int(effort))
            took.append(time.perf_counter() - start)
            spent.append(time.process_time() - cpu)
        return {
            "queries": len(queries),
            "qps": len(queries) / min(took),
            "cpu_us": 1e6 * min(spent) / len(queries),
            "recall": self._recall(queries, system.rows(found)),
        }

    def _warm(self, system: Any, queries: np.ndarray, effort: int) -> None:
        """So that a mapped index is in memory, also from a slow disk."""
        start = time.perf_counter()
        for row in range(0, len(queries), 100):
            system.search(queries[row : row + 100], K, effort)
            if time.perf_counter() - start > _WARM:
                break

    def _opened(self, threads: int) -> Any:  # of the class that was named
        system = self.system(self.folder, self.metric, threads)
        system.open()
        return system

    def _recall(self, queries: np.ndarray, found: np.ndarray) -> float:
        """Share of results as near as the true 10th neighbour. found: (Q, 10) rows of the set."""
        last = np.load(self.vectors / "asked_near.npy")[: len(queries)]
        base = np.load(self.vectors / "base.npy", mmap_mode="r")
        hits = 0
        for query, ids, limit in zip(queries.astype(np.float64), found, last, strict=True):
            distance = ((base[np.unique(ids)] - query) ** 2).sum(axis=1)
            hits += int((distance <= limit * (1 + TOLERANCE)).sum())
        return hits / found.size


if __name__ == "__main__":
    main()
