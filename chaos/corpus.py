"""A small corpus of pictures, sounds and titles, some missing, one in twelve broken."""

import csv
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from chaos import media
from pipeline.plan import growing

SHARD = 16  # records of the largest


def shards(records: int) -> int:
    """How many are planned of so many records."""
    planned = accumulate(limit.rows for limit in growing(SHARD, 10**9))
    return next(count for count, covered in enumerate(planned, 1) if covered >= records)


def write(folder: Path, records: int, seed: int = 0) -> dict[str, Any]:
    """records.csv and its files; returns a configuration of a run over them, output `run`."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "records.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "photo", "sound"])
        for number in range(records):
            cells = [f"thing {number % 6} number {number}"]
            for suffix, make, gap in (("png", media.picture, 7), ("wav", media.sound, 5)):
                name = f"{number}.{suffix}" if number % gap else ""
                if name:
                    whole = make(suffix, rng)
                    (folder / name).write_bytes(whole if number % 12 != 3 else whole[:40])
                cells.append(name)
            writer.writerow([f"r{number:04d}", *cells])
    kinds = {"title": "text", "photo": "image", "sound": "audio"}
    return {
        "source": {"path": "records.csv", "id": "id"},
        "modalities": {name: {"kind": kind} for name, kind in kinds.items()},
        "output": "run",
        "shard": {"records": SHARD},
        "max_error_rate": 0.5,
    }
