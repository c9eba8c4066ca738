"""Time and memory of everything that looks at a whole run: writes docs/results/scale.json and .md.

    python -m benchmarks.scale

A run is planned for real from a table, then filled by a simulated worker: shards of 100 records, three
parts and three markers each, through the store's and the ledger's own code. Parts of equal length hold
the same bytes, and nothing is synced to the disk while the run is made. Each step runs in a process of
its own, so that the peak memory is its own; files are as warm as the step before has left them.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.results import about, footer, fresh_process, parser, save, write_page
from pipeline import config as configuration
from pipeline import disk, files, records, schemas
from pipeline.describe import describe
from pipeline.lease import Holder, Lease
from pipeline.ledger import VECTOR, Ledger, Marker
from pipeline.models import work_digest
from pipeline.plan import Plan, Shard
from pipeline.saved import SavedRun
from pipeline.store import PartFile, write_part
from pipeline.units import RECORDS, extract_unit, fuse_unit

NAME = "scale"
ROWS = (100_000, 1_000_000, 10_000_000)
SHARD, DIM = 100, 8
SYNCED = 200  # shards whose commits that are synced, to say what one costs
CONFIG = {
    "source": {"path": "records.csv", "id": "sku"},
    "modalities": {"title": {"kind": "text", "encoder": {"name": "hashed-ngrams", "dim": DIM}}},
    "output": "run",
    "shard": {"records": SHARD},
}
PRELUDE = """
import json, pickle, re, sys, time
from pathlib import Path
import torch, pipeline.fuse, pipeline.run, pipeline.status, pipeline.verify
from pipeline import config as configuration, garbage, todo
from pipeline.ledger import Ledger
from pipeline.plan import Plan, make_plan
from pipeline.store import Snapshot
def memory(which):
    return int(re.search(which + r":\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
folder = Path(sys.argv[1])
run = folder / "run"
Path("/proc/self/clear_refs").write_text("5")  # the peak of the imports is not that of the work
before, start = memory("VmRSS"), time.perf_counter()
def plan():
    wanted = configuration.load(folder / "run.yaml")
    source = pipeline.run.open_source(pipeline.run.source_spec(wanted), run / "plan")
    return make_plan(source, run / "plan", **wanted.shard_sizes)
"""
END = 'print(json.dumps([time.perf_counter() - start, before, memory("VmHWM"), said]))'
# Each sets `said` to a number that must not depend on how fast it was.
STEPS = {
    "plan": "said = plan().records",
    "list all units, as they travel": """
saved = pipeline.run.describe(configuration.load(folder / "run.yaml"), {})
shards = todo.walk(Plan.open(run / "plan"), Ledger(run))
units = [unit for shard in shards for unit in todo.extract_units(shard, saved, "title")]
said = len([pickle.dumps(unit) for unit in units])
""",
    "plan again, nothing new": "assert plan().unchanged; said = 0",
    "open the plan, read its shards": "said = sum(s.rows for s in Plan.open(run / 'plan').shards())",
    "read the ledger": "said = sum(marker.rows for marker in Ledger(run).scan())",
    "status": "said = pipeline.status.read_status(run).outcomes['ok']",
    "run again, all done": """
done = pipeline.run.run(
    configuration.load(folder / "run.yaml"), pipeline.run.Options(stages=["extract", "fit", "fuse"])
)
assert done.computed == 0
said = done.status.outcomes["ok"]
""",
    "verify": """
audit = pipeline.verify.verify(run)
assert not audit.problems and not audit.garbage, audit.problems[:3] + audit.garbage[:3]
said = audit.parts
""",
    "find garbage": "said = len(garbage.find(run, Ledger(run)))",
    "parts of a snapshot": "said = sum(part.rows for part in Snapshot.latest(run).parts('records'))",
}


def main() -> None:
    arguments = parser(NAME, __doc__)
    arguments.add_argument("--rows", type=int, nargs="+", default=ROWS)
    arguments.add_argument(
        "--folder", type=Path, help="where the runs are made (default: temporary)"
    )
    options = arguments.parse_args()
    if not options.tables:
        measure(options.rows, options.folder)
    write_page(NAME, page)


def measure(sizes: Iterable[int], folder: Path | None) -> None:
    """Saved size by size: the largest takes as long as all others together, and more."""
    found = {**about(NAME, "pyarrow"), "shard": SHARD, "sizes": []}
    for rows in sizes:
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix="scale-"))
        try:
            found["sizes"].append(measure_one(scratch, rows))
            save(NAME, found)
        finally:
            shutil.rmtree(scratch)


def measure_one(folder: Path, rows: int) -> dict[str, Any]:
    """Every step on a run of so many records."""
    write_source(folder, rows)
    steps = {}
    for name, program in STEPS.items():
        if name == "plan again, nothing new":
            made = fill(folder)
        seconds, before, peak, said = fresh_process("\n".join([PRELUDE, program, END]), str(folder))
        steps[name] = {"seconds": seconds, "imports": before, "peak": peak, "said": said}
        print(f"{rows:>12,} {name:32} {seconds:8.2f} s {before:6.0f} {peak:6.0f} MB", flush=True)
    return {"records": rows, **made, "steps": steps}


def write_source(folder: Path, rows: int) -> None:
    (folder / "run.yaml").write_text(json.dumps(CONFIG))
    with (folder / "records.csv").open("w") as file:
        file.write("sku,title\n")
        file.writelines(f"sku-{n:09d},thing {n}\n" for n in range(rows))


# -- the simulated worker


def fill(folder: Path) -> dict[str, Any]:
    """All parts and markers of a planned run, as if workers had been at it; what there is then."""
    config = configuration.load(folder / "run.yaml")
    run = Path(config.output)
    saved = describe(config, {})
    files.publish(run / "config.yaml", saved.to_yaml().encode())
    sync, started = disk.sync, time.perf_counter()
    with Holder(run) as lease:
        worker = SimulatedWorker(saved, lease)
        shards = Plan.open(run / "plan").shards()
        synced = 0.0
        for index, shard in enumerate(shards):
            disk.sync = sync if index < SYNCED else lambda _: None
            worker.run(shard)
            if index == SYNCED - 1:
                synced = time.perf_counter() - started
        disk.sync = sync
    print(f"{'':12} filled in {time.perf_counter() - started:.0f} s", flush=True)
    sizes = [path.stat().st_size for path in (run / "ledger").rglob("*.json")]
    return {
        "shards": index + 1,
        "markers": len(sizes),
        "marker_bytes": sum(sizes),
        "synced_ms": 1000 * synced / SYNCED,
    }


class SimulatedWorker:
    """Commits what a worker commits, without computing it."""

    def __init__(self, saved: SavedRun, lease: Lease) -> None:
        self.saved = saved
        self.lease = lease
        self.ledger = Ledger(lease.run)
        self.made: dict[tuple[str, int], tuple[PartFile, bytes]] = {}

    def run(self, shard: Shard) -> None:
        """extract, records and fuse of one shard."""
        feature = self._part("features/title", shard)
        states = {"title": VECTOR * shard.rows}
        self.ledger.attempt(shard.number, extract_unit("title"))
        work = self.saved.work("title")
        marker = self._commit(shard, extract_unit("title"), work, feature, states)
        work = records.work_digest([marker])
        outcome = {"outcome": "o" * shard.rows}
        self._commit(shard, RECORDS, work, self._part("records", shard), outcome)
        work = work_digest(self.saved.identities["concat"], {"title": feature})
        self._commit(shard, fuse_unit("concat"), work, self._part("fused/concat", shard), {})

    def _commit(
        self, shard: Shard, unit: str, work: str, part: PartFile, states: Mapping[str, str]
    ) -> Marker:
        marker = Marker(shard.number, unit, work, shard.rows, (part,), states, seconds=1.25)
        self.ledger.commit(marker, self.lease)
        return marker

    def _part(self, folder: str, shard: Shard) -> PartFile:
        if (folder, shard.rows) not in self.made:
            part = write_part(self.lease.run, folder, shard.number, _table(folder, shard.rows))
            path = self.lease.run / folder / part.name
            self.made[folder, shard.rows] = part, path.read_bytes()
        first, data = self.made[folder, shard.rows]
        name = f"part-{shard.number:07d}-{first.sha256[:16]}.parquet"
        files.publish(self.lease.run / folder / name, data)
        return PartFile(folder, name, first.rows, first.sha256, first.bytes)


def _table(folder: str, rows: int) -> pa.Table:
    ids = pa.array([f"sku-{n:09d}" for n in range(rows)])
    if folder == "records":
        present = pa.array([["title"]] * rows, pa.list_(pa.string()))
        return pa.table({"record_id": ids, "outcome": ["ok"] * rows, "present": present})
    vectors = np.random.default_rng(rows).normal(size=(rows, DIM)).astype(np.float32)
    return pa.table(
        {"record_id": ids, "vector": schemas.vectors_array(vectors, np.ones(rows, bool))}
    )


# -- the page


def page(results: Mapping[str, Any]) -> str:
    """docs/results/scale.md."""
    sizes = results["sizes"]
    head = [f"{size['records']:,} records, {size['shards']:,} shards" for size in sizes]
    lines = [
        "# Scale: what looks at a whole run",
        "",
        f"Shards of {results['shard']} records, three parts and three markers each. Seconds, and peak",
        "memory in MB above that of the imports; every step is a process of its own. The last column",
        "is how much memory a further shard takes, from the two largest runs.",
        "",
        f"| step | {' | '.join(head)} | bytes per shard |",
        f"| --- |{' ---: |' * (len(sizes) + 1)}",
    ]
    for name in sizes[0]["steps"]:
        steps = [size["steps"][name] for size in sizes]
        cells = [f"{s['seconds']:.1f} s, {s['peak'] - s['imports']:.0f} MB" for s in steps]
        lines.append(f"| {name} | {' | '.join(cells)} | {_growth(sizes, name)} |")
    last = sizes[-1]
    lines += [
        "",
        f"The largest run has {last['markers']:,} markers of {last['marker_bytes'] / last['markers']:.0f} "
        f"bytes. Synced to this disk, the three commits of a shard take {last['synced_ms']:.1f} ms.",
        *footer({**results, "seed": None}, "benchmarks/scale.py"),
    ]
    return "\n".join(lines) + "\n"


def _growth(sizes: list[Mapping[str, Any]], name: str) -> str:
    if len(sizes) < 2:
        return ""
    one, two = sizes[-2:]
    more = two["steps"][name]["peak"] - one["steps"][name]["peak"]
    return f"{max(0.0, more) * 2**20 / (two['shards'] - one['shards']):.0f}"


if __name__ == "__main__":
    main()
