"""Work on few rows, which the command does itself: a pool of workers takes longer to start.

Reading, splitting, fusing and restoring what is stored. Of the media only one small shard, which one
worker would compute alone, too; they are decoded in a disposable process, because decoding one may
cost a process its life.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from pipeline.plan import FIRST_SHARD, growing
from pipeline.sources.base import Known, Source
from pipeline.units import Job, Unit

ROWS = 10_000  # a second or two of the slowest fusion, on one thread; a pool takes five to start


def suffices(units: Sequence[Unit]) -> bool:
    """Whether these units are light, and their rows few, or they are of one small shard."""
    heavy = [unit for unit in units if unit.kind == "extract"]
    one_shard = len({unit.shard.number for unit in heavy}) <= 1
    small = all(unit.shard.rows <= FIRST_SHARD for unit in heavy)
    return one_shard and small and sum(unit.shard.rows for unit in units) <= ROWS


def has_few(source: Source, sizes: Mapping[str, int]) -> bool:
    """Whether a source without a plan will be one small shard, or none; reads no more than tells that.

    Args:
        sizes: of its shards, as `plan.make_plan` takes them.
    """
    if not source.may_be_few(FIRST_SHARD):
        return False
    pieces = source.scan(source.files(), Known(), growing(**sizes))
    first, second = next(pieces, None), next(pieces, None)
    return second is None and (first is None or first.rows <= FIRST_SHARD)


def stream(job: Job, units: Sequence[Unit]) -> Generator[dict[str, Any], None, None]:
    """The report of each unit, as `cluster.stream` yields it; the same bytes are written.

    What goes wrong is raised as it is: no process has to be crossed, and whoever runs the command
    tells a full disk from a bug.
    """
    from encoders.precision import threads  # torch
    from pipeline.work import Worker

    worker = Worker(job, isolated=True)
    with threads(1):  # as in a worker: the low bits of a product depend on it
        for unit in units:
            yield worker.run(unit)
