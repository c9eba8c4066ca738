"""What it costs that nothing gets lost: writes docs/results/commit_cost.json and .md.

    POLYFUSE_TEST_DATA=FOLDER python -m benchmarks.commit_cost

One worker in this process, so that every call can be timed from outside; photos of Caltech-101 and
the sentences of Banking77 through encoders from heavy to nearly free. Wall time, shards as a run
makes them by default.
"""

import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import corpora, results
from chaos.in_process import without_ray
from pipeline import config as configuration
from pipeline import isolate, work
from pipeline.isolate import InActor
from pipeline.ledger import Ledger
from pipeline.run import Options, run
from pipeline.work import Worker

NAME = "commit_cost"
# What is timed: where it is looked up, by which name, and under which it is counted.
_CALLS: tuple[tuple[Any, str, str], ...] = (
    (Worker, "run", "worker"),
    (Ledger, "attempt", "attempt"),
    (Ledger, "commit", "marker"),
    (work, "write_part", "part"),
    (pq, "write_table", "parquet"),
    (InActor, "decode", "guarded"),
    (isolate, "decode", "decode"),
)


def main() -> None:
    results.main(NAME, __doc__, measure, page, needs="photos/, text/ and weights/")


def measure(data: Path) -> dict[str, Any]:
    """Three runs."""
    import torch

    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        archive = data / "photos" / "caltech101" / "caltech101.tar"
        files = corpora.pictures(archive, photos)
        images = [str(path) for path in files]
        sentences = (data / "text/banking77/banking77.csv").read_text(encoding="utf-8").splitlines()
        for encoder, kind, cells in (
            (corpora.mobilenet(data), "image", images),
            ({"name": "hog-colour"}, "image", images),
            ({"name": "hashed-ngrams"}, "text", sentences[1:]),
        ):
            rows.append(_run(Path(folder), encoder, kind, cells))
            print(rows[-1], flush=True)
    found = results.about(NAME, "torch", "pyarrow", threads=1)
    return found | {"load": os.getloadavg()[0], "rows": rows}


def _run(folder: Path, encoder: Mapping[str, str], kind: str, cells: list[str]) -> dict[str, Any]:
    """Seconds by call; the first shard, in which the model is loaded, counts too."""
    table = folder / f"{encoder['name']}.parquet"
    pq.write_table(pa.table({"id": [str(n) for n in range(len(cells))], "it": cells}), table)
    settings = {
        "source": {"path": str(table), "id": "id"},
        "modalities": {"it": {"kind": kind, "column": "it", "encoder": dict(encoder)}},
        "output": str(folder / encoder["name"]),
        "precision": "fp32",
    }
    with without_ray(), _timed() as (seconds, calls):
        run(configuration.parse(settings, folder), Options(("extract",)))
    name = Path(encoder.get("model", encoder["name"])).name
    return {"encoder": name, "rows": len(cells), "units": calls["worker"], "seconds": seconds}


@contextlib.contextmanager
def _timed() -> Iterator[tuple[Counter[str], Counter[str]]]:
    """(seconds, calls) by name, of calls made by a worker."""
    seconds: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    inside: list[str] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name != "worker" and "worker" not in inside:
                return function(*arguments, **options)
            inside.append(name)
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[name] += time.perf_counter() - started
                calls[name] += 1
                inside.pop()

        return call

    with contextlib.ExitStack() as stack:
        for place, attribute, name in _CALLS:
            call = timed(name, getattr(place, attribute))
            stack.enter_context(mock.patch.object(place, attribute, call))
        yield seconds, calls


def page(found: Mapping[str, Any]) -> str:
    """docs/results/commit_cost.md."""
    lines = [
        "# What it costs that nothing gets lost",
        "",
        "Shares of a worker's time. attempt: the durable note before the work. publish: digest, "
        "temporary file, fsync, rename, fsync of the folder, for every part. marker: the look at the "
        "lease, and the marker itself. Together they are what a kill can do no harm to; a program that "
        "only calls `write_table` has the next column alone. guard: what it costs clean media that a "
        "bad one may crash or hang: a kernel timer around each decode, and the attempt again.",
        "",
        "| encoder | records | shards | seconds | attempt | publish | marker | together "
        "| Parquet itself | guard |",
        "| --- |" + " ---: |" * 9,
        *(_row(row) for row in found["rows"]),
        "",
        "A shard costs the same few writes whatever it holds, so small corpora pay most: the first "
        "shards of a run are small on purpose.",
    ]
    note = f"Load of the machine {found['load']:.1f}."
    return "\n".join([*lines, *results.footer(found, "benchmarks/commit_cost.py", note)]) + "\n"


def _row(row: Mapping[str, Any]) -> str:
    spent = Counter(row["seconds"])
    publish = spent["part"] - spent["parquet"]
    together = spent["attempt"] + publish + spent["marker"]
    guard = spent["guarded"] - spent["decode"] + spent["attempt"]
    shown = (spent["attempt"], publish, spent["marker"], together, spent["parquet"], guard)
    shares = " | ".join(f"{value / spent['worker']:.2%}" for value in shown)
    seconds = f"{spent['worker']:.1f}"
    return f"| {row['encoder']} | {row['rows']:,} | {row['units']} | {seconds} | {shares} |"


if __name__ == "__main__":
    main()
