"""Runs with a split, as training reads them, written straight to disk: no encoders, no Ray."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from stored import write_run

from pipeline.config import SplitConfig
from pipeline.fit import split
from pipeline.fit.data import Data, ShardParts
from pipeline.fit.labels import Labels
from pipeline.store import Part, PartFile, write_part


def write_data(
    run: Path,
    features: dict[str, np.ndarray],
    *,
    shard: int = 50,
    labels: pa.Array | None = None,
    task: Labels | None = None,
    sequences: dict[str, list] | None = None,
    config: SplitConfig | None = None,
) -> Data:
    """The run on disk and what a training is told of it."""
    snapshot = write_run(run, features, shard=shard, sequences=sequences)
    names = [*features, *(sequences or {})]
    shards = []
    start = 0
    for number, part in enumerate(snapshot.parts("records")):
        own = labels.slice(start, part.rows) if labels is not None else None
        table = split.derive(pq.read_table(part.path), config or SplitConfig(), own)
        inputs = {n: file(snapshot.parts(f"features/{n}")[number], f"features/{n}") for n in names}
        written = write_part(run, "split", number, table)
        shards.append(ShardParts(inputs, file(part, "records"), written))
        start += part.rows
    return Data(run, tuple(shards), tuple(names), task, sequences=bool(sequences))


def file(part: Part, folder: str) -> PartFile:
    """A snapshot's part as a marker says it."""
    known = asdict(part)
    return PartFile(folder, part.path.name, known["rows"], known["sha256"], known["bytes"])
