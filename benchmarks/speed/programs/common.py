"""What every program needs: its setting, a note of what was done when, the vectors as Parquet."""

import csv
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def setting() -> dict[str, Any]:
    """The JSON file that the command line names."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def rows(given: dict[str, Any]) -> list[dict[str, str]]:
    with open(given["table"], newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@contextmanager
def noted(output: str, items: int) -> Iterator[None]:
    """Appends when a batch of so many items was begun and finished, whichever process had it."""
    start = time.time()
    yield
    event = {"start": start, "finish": time.time(), "items": items}
    with open(f"{output}.events", "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")  # one short write: lines of two processes don't mix


def save(output: str, ids: Sequence[str], vectors: np.ndarray) -> None:
    """One file; vectors (N, D)."""
    Path(output).mkdir(parents=True, exist_ok=True)
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    pq.write_table(pa.table({"id": list(ids), "vector": column}), f"{output}/vectors.parquet")
