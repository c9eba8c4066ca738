"""Light work on few rows, which the command does itself: a pool of workers takes longer to start.

Reading, splitting, fusing and restoring what is stored. Never the media: decoding one may cost the
process its life, and a model for them the memory that workers plan with.
"""

from collections.abc import Generator, Sequence
from typing import Any

from pipeline.units import Job, Unit

ROWS = 10_000  # a second or two of the slowest fusion, on one thread; a pool takes five to start


def suffices(units: Sequence[Unit]) -> bool:
    """Whether these units are light, and their rows few."""
    light = all(unit.kind != "extract" for unit in units)
    return light and sum(unit.shard.rows for unit in units) <= ROWS


def stream(job: Job, units: Sequence[Unit]) -> Generator[dict[str, Any], None, None]:
    """The report of each unit, as `cluster.stream` yields it; the same bytes are written.

    What goes wrong is raised as it is: no process has to be crossed, and whoever runs the command
    tells a full disk from a bug.
    """
    from encoders.precision import threads  # torch
    from pipeline.work import Worker

    worker = Worker(job)
    with threads(1):  # as in a worker: the low bits of a product depend on it
        for unit in units:
            yield worker.run(unit)
