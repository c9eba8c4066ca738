"""A command without Ray: the units of a stage one after the other, in this process."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from pipeline import cluster, few
from pipeline.index import jobs


@contextlib.contextmanager
def without_ray() -> Iterator[None]:
    """For what does not depend on who does the work, but on what is written when."""
    with contextlib.ExitStack() as stack:
        for place, name, stand_in in (
            (cluster, "connected", lambda *_: contextlib.nullcontext()),
            (cluster, "check_placeable", lambda *_, **__: None),
            (cluster, "gpus", lambda: 0),
            (cluster, "worker_count", lambda *_: 1),
            (cluster, "stream", lambda job, units, *_, **__: few.stream(job, units)),
            (jobs, "build", jobs.build_here),
        ):
            stack.enter_context(mock.patch.object(place, name, stand_in))
        yield
