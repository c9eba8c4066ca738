"""A command without Ray: the units of a stage one after the other, in this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from pipeline import cluster
from pipeline.index import jobs
from pipeline.store import Snapshot
from pipeline.units import Unit
from pipeline.work import Worker


@contextmanager
def without_ray() -> Iterator[None]:
    """For what does not depend on who does the work, but on what is written when."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "connected", lambda *_: nullcontext())
        patch.setattr(cluster, "check_placeable", lambda *_, **__: None)
        patch.setattr(cluster, "worker_count", lambda *_: 1)
        patch.setattr(cluster, "stream", _stream)
        patch.setattr(jobs, "build", _build)
        yield


def _stream(job: Any, units: Sequence[Unit], resources: Any, **_: Any) -> Iterator[dict[str, Any]]:
    worker = Worker(job)
    for unit in units:
        yield worker.run(unit)


def _build(run: Path, wanted: Sequence[jobs.IndexJob], memory: int, progress: Any) -> None:
    snapshot = Snapshot.latest(run)
    records = snapshot.parts("records")
    for job in wanted:
        jobs._build_one(job, snapshot.parts(job.folder), records, run, memory, snapshot, 1)
