"""A loop: every picture, then one file. `plain.py TABLE OUTPUT`."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from describe import describe

table, output = sys.argv[1:]
rows = pq.read_table(table).to_pylist()
found = [{"id": row["id"], "vector": describe(row["path"])} for row in rows]
Path(output).mkdir(exist_ok=True)
pq.write_table(pa.Table.from_pylist(found), Path(output, "vectors.parquet"))
