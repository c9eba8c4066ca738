"""How long planning takes and how much memory it needs: writes docs/results/planning.md.

    python -m benchmarks.planning

Tables of three columns (sku, title with quotes and line breaks, price) are generated once per size;
each planning runs in a process of its own, so that the peak memory is its own.
"""

import argparse
import datetime
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.results import RESULTS, fresh_process, machine

RESULT = RESULTS / "planning.md"
SEED = 7
BLOCK = 100_000
MEASURE = """
import json, resource, sys, tempfile, time
from pathlib import Path
from pipeline.plan import make_plan
from pipeline.sources import SourceSpec, open_source
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
spec = SourceSpec(sys.argv[1], sys.argv[2] or None, {}, ("title",))
with tempfile.TemporaryDirectory() as folder:
    before, start = peak(), time.perf_counter()
    planned = make_plan(open_source(spec), Path(folder), records=4096, bytes=256_000_000)
    seconds = time.perf_counter() - start
print(json.dumps([planned.records, planned.new_shards, seconds, before, peak()]))
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    arguments.add_argument("--kinds", nargs="+", default=["csv", "jsonl", "parquet"])
    options = arguments.parse_args()
    command = f"python -m benchmarks.planning {' '.join(sys.argv[1:])}".strip()
    where = f"{machine()}, Python {platform.python_version()}"
    lines = [
        "# Planning: time and memory",
        "",
        "Planning finds the shards, their byte ranges and fingerprints; with an id column it also",
        "proves that no id is empty or occurs twice. Peak memory includes the imports (in brackets).",
        "",
        "| source | rows | size MB | id column | shards | seconds | peak RSS MB (imports) |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            for rows in options.rows:
                lines += measure(Path(folder, f"planning-{rows}.{kind}"), kind, rows)
                print(*lines[-2:], sep="\n", flush=True)
    lines += ["", f"`{command}`, seed {SEED}, {where}, {datetime.date.today()}.", ""]
    RESULT.write_text("\n".join(lines))
    print(RESULT)


def measure(path: Path, kind: str, rows: int) -> Iterator[str]:
    """Two table rows: without an id column and with one."""
    WRITERS[kind](path, rows)
    size = path.stat().st_size / 1e6
    for id_column in ("", "sku"):
        planned = fresh_process(MEASURE, str(path), id_column)
        count, shards, seconds, before, peak = planned
        assert count == rows
        yield (
            f"| {kind} | {rows:,} | {size:,.0f} | {id_column or 'none'} | {shards} | "
            f"{seconds:.1f} | {peak:,.0f} ({before:,.0f}) |"
        )
    path.unlink()


def batches(rows: int) -> Iterator[tuple[range, list[str], np.ndarray]]:
    """(row numbers, titles, prices); some titles need quotes, some have a line break."""
    draw = np.random.default_rng(SEED)
    for start in range(0, rows, BLOCK):
        numbers = range(start, min(start + BLOCK, rows))
        prices = draw.integers(100, 100_000, len(numbers)) / 100
        yield numbers, [title(n) for n in numbers], prices


def title(number: int) -> str:
    if number % 64 == 0:
        return f"Lamp {number},\nbrass"
    return f'Chair "{number}", oak' if number % 4 == 0 else f"Table {number} walnut"


def write_csv(path: Path, rows: int) -> None:
    with path.open("w", newline="") as file:
        file.write("sku,title,price\r\n")
        for numbers, titles, prices in batches(rows):
            for number, text, price in zip(numbers, titles, prices, strict=True):
                quoted = '"' + text.replace('"', '""') + '"' if number % 4 == 0 else text
                file.write(f"sku-{number},{quoted},{price}\r\n")


def write_jsonl(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for numbers, titles, prices in batches(rows):
            for number, text, price in zip(numbers, titles, prices, strict=True):
                record = {"sku": f"sku-{number}", "title": text, "price": float(price)}
                file.write(json.dumps(record) + "\n")


def write_parquet(path: Path, rows: int) -> None:
    schema = pa.schema([("sku", pa.string()), ("title", pa.string()), ("price", pa.float64())])
    with pq.ParquetWriter(path, schema) as writer:
        for numbers, titles, prices in batches(rows):
            skus = [f"sku-{number}" for number in numbers]
            writer.write_table(pa.table([skus, titles, prices], schema), row_group_size=10_000)


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}

if __name__ == "__main__":
    main()
