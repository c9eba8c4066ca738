"""Pictures, some of them broken, and the tables that name them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RECORDS, TABLES = 384, 24
EVERY = 25  # one of so many is broken where some are: in two tables of three


def write(folder: Path, *, broken: bool) -> list[str]:
    """media/ and table/; returns the ids of those that are broken, five kinds in turn."""
    rng = np.random.default_rng(0)
    for name in ("media", "table"):
        (folder / name).mkdir(parents=True)
    rows, bad = [], []
    for number in range(RECORDS):
        path = folder / "media" / f"{number}.jpg"
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(path, "JPEG")
        rows.append({"id": f"r{number:04d}", "path": str(path)})
        if broken and number % EVERY == 3:
            _break(path, len(bad) % 5)
            bad.append(rows[-1]["id"])
    for number in range(TABLES):
        part = pa.Table.from_pylist(rows[number::TABLES])
        pq.write_table(part, folder / "table" / f"{number}.parquet")
    return bad


def _break(path: Path, how: int) -> None:
    whole = path.read_bytes()
    if how == 4:
        path.unlink()
    else:
        path.write_bytes((whole[: len(whole) // 2], b"", b"<html>404</html>", whole[500:])[how])
