"""Stored vectors: read into one matrix beside pandas, and fused beside numpy.

    python -m benchmarks.stored_speed               measure, write docs/results/stored_speed
    python -m benchmarks.stored_speed --tables      the page again from the numbers

Two features of 384 numbers are written as a run writes them, a tenth of the vectors missing. Every
measurement is a process of its own, in turns; files are in the page cache. Imports are not timed.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import results, stored
from pipeline import schemas
from pipeline.store import publish_snapshot, write_part

NAME = "stored_speed"
SHARD, DIM, SEED = 4096, 384, 0
FEATURES = ("image", "text")

_HEAD = """
import json, os, resource, sys, time
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
run = Path(sys.argv[1])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
"""
_TAIL = """
before, wall, cpu = peak(), time.perf_counter(), time.process_time()
size = measured()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"mb": size / 1e6, "seconds": wall, "cpu": cpu, "peak": peak() - before}))
"""
MATRIX = {
    "polyfuse, `Run.vectors`": """
from pipeline import Run
def measured():
    return Run(run).vectors("image")[1].nbytes
""",
    "the same, page checksums off": """
from pipeline import Run, intact
intact._file = pq.ParquetFile
def measured():
    return Run(run).vectors("image")[1].nbytes
""",
    "pandas, `read_parquet` and `np.stack`": """
import pandas
def measured():
    table = pandas.read_parquet(run / "features" / "image")
    nothing = np.full(384, np.nan, np.float32)
    return np.stack([nothing if row is None else row for row in table["vector"]]).nbytes
""",
    "pyarrow, `read_table` and its buffer": """
def measured():
    column = pq.read_table(run / "features" / "image")["vector"].combine_chunks()
    matrix = column.values.to_numpy(zero_copy_only=False).reshape(-1, 384)
    return np.where(np.asarray(column.is_valid())[:, None], matrix, np.float32(np.nan)).nbytes
""",
}
FUSED = {
    "polyfuse, `fuse` and `write_part`": """
import torch
from pipeline import onecore
onecore.begin()
onecore.single_threaded()
import fusion
from pipeline.fuse import fuse
from pipeline.store import PartFile, Snapshot, write_part
def measured():
    model = fusion.build("concat", {"image": 384, "text": 384}).eval()
    folders = {name: Snapshot.latest(run).parts(f"features/{name}") for name in ("image", "text")}
    size = 0
    for pair in zip(*folders.values()):
        parts = {
            name: PartFile(f"features/{name}", part.path.name, part.rows, part.sha256, part.bytes)
            for name, part in zip(folders, pair)
        }
        size += write_part(run, "fused/concat", pair[0].number, fuse(run, parts, model)).bytes
    return size
""",
    "numpy: `concatenate`, `pq.write_table`": """
def measured():
    (run / "plain").mkdir(exist_ok=True)
    size = 0
    for image, text in zip(*(sorted((run / "features" / n).iterdir()) for n in ("image", "text"))):
        tables = [pq.read_table(path) for path in (image, text)]
        columns = [table["vector"].combine_chunks() for table in tables]
        blocks = []
        for column in columns:
            matrix = column.values.to_numpy(zero_copy_only=False).reshape(-1, 384)
            matrix = np.where(np.asarray(column.is_valid())[:, None], matrix, np.float32(0))
            length = np.linalg.norm(matrix, axis=1, keepdims=True)
            blocks.append(matrix / np.where(length > 0, length, 1) * np.float32(0.5**0.5))
        both = pa.array(np.concatenate(blocks, axis=1).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(both, 768)
        table = pa.table({"record_id": tables[0]["record_id"], "vector": vectors})
        path = run / "plain" / image.name
        pq.write_table(table, path, use_dictionary=False, compression="NONE")
        with path.open("rb") as file:
            os.fsync(file.fileno())  # as a part is when its marker names it
        size += path.stat().st_size
    return size
""",
}


def main() -> None:
    parser = results.parser(NAME, __doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if not given.tables:
        found = results.about(NAME, "pyarrow", "pandas", "numpy", "torch") | {"seed": SEED}
        sizes = [_measure(rows, given.rounds) for rows in given.rows]
        results.save(NAME, found | {"rounds": given.rounds, "sizes": sizes})
    results.write_page(NAME, page)


def _measure(rows: int, rounds: int) -> dict[str, Any]:
    taken: dict[str, list[dict[str, float]]] = {}
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows)
        for _ in range(rounds):
            for name, program in {**MATRIX, **FUSED}.items():
                found = results.fresh_process(_HEAD + program + _TAIL, folder)
                taken.setdefault(name, []).append(found)
            loads.append(os.getloadavg()[0])
            print(rows, f"load {loads[-1]:.1f}", flush=True)
    return {"rows": rows, "load": loads, "taken": {n: _summary(t) for n, t in taken.items()}}


def _summary(taken: list[dict[str, float]]) -> dict[str, float]:
    found = {key: median(one[key] for one in taken) for key in taken[0]}
    rates = [one["mb"] / one["seconds"] for one in taken]
    return found | {"rate": median(rates), "lowest": min(rates), "highest": max(rates)}


def write(run: Path, rows: int) -> None:
    """A run of two features, as `polyfuse extract` leaves it."""
    modality = {"kind": "vector", "encoder": {"name": "as-is", "dim": DIM}}
    stored.save_config(run, dict.fromkeys(FEATURES, modality))
    parts = []
    for number, start in enumerate(range(0, rows, SHARD)):
        random = np.random.default_rng([SEED, number])
        count = min(SHARD, rows - start)
        ids = pa.array([f"r{i:09d}" for i in range(start, start + count)])
        for name in FEATURES:
            vectors = random.normal(size=(count, DIM)).astype(np.float32)
            column = schemas.vectors_array(vectors, random.random(count) < 0.9)
            table = pa.table({"record_id": ids, "vector": column})
            parts.append((number, write_part(run, f"features/{name}", number, table)))
    publish_snapshot(run, parts, {"records": rows})


def page(results_: Mapping[str, Any]) -> str:
    """docs/results/stored_speed.md."""
    lines = [
        "# Stored vectors: read into a matrix, and fused",
        "",
        f"{DIM} numbers a vector, a tenth missing, parts of {SHARD} records. Medians over "
        f"{results_['rounds']} rounds, in turns (ranges in brackets); peak memory is above that of the "
        "imports. polyfuse compares every page with its checksum, and writes checksums, digests and a "
        "name made of them. Fusing is done part by part, in a process set up as a worker is.",
    ]
    for size in results_["sizes"]:
        load = f"{min(size['load']):.1f} to {max(size['load']):.1f}"
        lines += [
            "",
            f"## {size['rows']:,} records (load average {load})",
            "",
            "| | MB | MB/s | seconds | CPU seconds | peak MB |",
            "| --- |" + " ---: |" * 5,
        ]
        for name, own in size["taken"].items():
            rate = f"{own['rate']:,.0f} ({own['lowest']:,.0f}-{own['highest']:,.0f})"
            lines.append(
                f"| {name} | {own['mb']:,.0f} | {rate} | {own['seconds']:.2f} | {own['cpu']:.2f} "
                f"| {own['peak']:,.0f} |"
            )
    return "\n".join([*lines, *results.footer(results_, "benchmarks/stored_speed.py")]) + "\n"


if __name__ == "__main__":
    main()
