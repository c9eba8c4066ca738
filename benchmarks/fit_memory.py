"""Does the memory of a training grow with the data? Writes docs/results/fit_memory.md.

    python -m benchmarks.fit_memory

Parts of two features of 256 numbers are written as a run writes them, a share of the vectors
missing; each training runs in a process of its own, so that the peak memory is its own. Every
training makes the same number of steps, the scaling pass reads all rows before them.
"""

import argparse
import pickle
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.results import RESULTS, fresh_process, machine
from pipeline import schemas
from pipeline.config import SplitConfig
from pipeline.fit import split
from pipeline.fit.data import Data, ShardParts
from pipeline.store import write_part

RESULT = RESULTS / "fit_memory.md"
DIM, SHARD, SEED = 256, 4096, 7
MEASURE = """
import json, pickle, resource, sys, time
from pathlib import Path
import torch, fusion
from fusion import objectives
from fusion.learner import train
from learning.loop import Recipe
from pipeline.fit.feed import StoredFeed
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
torch.set_num_threads(1)
data = pickle.loads(Path(sys.argv[1]).read_bytes())
before, start = peak(), time.perf_counter()
feed = StoredFeed(data)
torch.manual_seed(0)
model = fusion.build("gmu", {"a": 256, "b": 256}, dim=64)
objective = objectives.build("reconstruct", model, hidden=[64])
train(model, objective, feed, Recipe(steps=int(sys.argv[2]), evaluate=100))
print(json.dumps([feed.rows["train"], time.perf_counter() - start, before, peak()]))
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000, 1_000_000])
    arguments.add_argument("--steps", type=int, default=300)
    options = arguments.parse_args()
    command = f"python -m benchmarks.fit_memory {' '.join(sys.argv[1:])}".strip()
    where = f"{machine()}, Python {platform.python_version()}"
    lines = [
        "# Training: memory against the size of the data",
        "",
        f"Two features of {DIM} numbers, gmu with reconstruct, {options.steps} steps of 256 records "
        "after one pass over all of them.",
        "Peak memory of the training process includes the imports (in brackets).",
        "",
        "| records | vectors MB | records trained on | seconds | peak RSS MB (imports) |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            megabytes = write(Path(folder), rows)
            trained, seconds, before, peak = fresh_process(
                MEASURE, str(Path(folder, "data")), str(options.steps)
            )
        lines.append(
            f"| {rows:,} | {megabytes:,.0f} | {trained:,} | {seconds:.0f} | {peak:.0f} ({before:.0f}) |"
        )
        print(lines[-1])
    lines += ["", f"`{command}`, seed {SEED}, {where}.", ""]
    RESULT.write_text("\n".join(lines), encoding="utf-8")


def write(folder: Path, rows: int) -> float:
    """The parts of a run, shard by shard, and what a training is told of them; their megabytes."""
    shards = []
    for number, start in enumerate(range(0, rows, SHARD)):
        count = min(SHARD, rows - start)
        rng = np.random.default_rng([SEED, number])
        ids = pa.array([f"r{i:08d}" for i in range(start, start + count)])
        hidden = rng.normal(size=(count, 16))
        there = {"a": rng.random(count) < 0.9, "b": rng.random(count) < 0.6}
        present = [[name for name in there if there[name][i]] for i in range(count)]
        records = pa.table(
            {
                "record_id": ids,
                "outcome": ["ok"] * count,
                "present": pa.array(present, pa.list_(pa.string())),
            }
        )
        inputs = {}
        for feature, name in enumerate(there):
            mixing = np.random.default_rng([SEED, feature]).normal(size=(16, DIM))
            vectors = schemas.vectors_array((hidden @ mixing).astype(np.float32), there[name])
            table = pa.table({"record_id": ids, "vector": vectors})
            inputs[name] = write_part(folder, f"features/{name}", number, table)
        shards.append(
            ShardParts(
                inputs,
                write_part(folder, "records", number, records),
                write_part(folder, "split", number, split.derive(records, SplitConfig(), None)),
            )
        )
    (folder / "data").write_bytes(pickle.dumps(Data(folder, tuple(shards), ("a", "b"))))
    return sum(shard.bytes for shard in shards) / 1e6


if __name__ == "__main__":
    main()
