"""Where a command computes: on this machine or on a cluster, with GPUs or without."""

import contextlib
import functools
import importlib
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from pipeline import cluster, few, files, reach
from pipeline.config import RunConfig
from pipeline.describe import source_spec
from pipeline.units import Job, Unit

_T = TypeVar("_T")


class Machines:
    """Ray for one command, started or joined when the first work needs it; as a context manager
    ends it.

    Args:
        address: of a cluster; None: this machine, unless RAY_ADDRESS says another.
        config: how many workers are asked for, and what those elsewhere must be able to reach.
        say: takes a sentence for the person who waits.
    """

    def __init__(self, address: str | None, config: RunConfig, say: Callable[[str], None]) -> None:
        self.address = address
        self.remote = cluster.is_remote(address)
        self._config = config
        self._say = say
        self._stack = contextlib.ExitStack()
        self.connected = False
        self.seconds = 0.0  # that connecting took

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.close()

    def connect(self) -> None:
        """Not in a thread beside others: Ray ends its helpers with the thread that started them, and
        forks, which stops the threads of numpy's BLAS wherever they are."""
        if self.connected:
            return
        started = time.monotonic()
        self._stack.enter_context(cluster.connected(self.address, self._config.workers))
        self.connected = True
        if self.remote:
            reach.check(source_spec(self._config), files.at(self._config.output) / "lease")
        self.seconds = time.monotonic() - started

    def connect_beside(self, work: Callable[[], _T]) -> _T:
        """Connect, while another thread does some work: its result. The work computes nothing, see
        `connect`; to import libraries and to read files is what it is for."""
        importlib.import_module("ray")  # whole, before others import: two threads see half a module
        with ThreadPoolExecutor(1) as other:
            found = other.submit(work)
            self.connect()
            return found.result()

    @functools.cached_property
    def only_these_cpus(self) -> bool:
        """Whether all work is done here and without a GPU; nothing is started to know it."""
        import torch

        return not (self.remote or torch.cuda.is_available())

    @functools.cached_property
    def device(self) -> str:
        """For networks: "cuda" where a worker can use a GPU, else "cpu"."""
        if self.only_these_cpus:
            return "cpu"
        self.connect()
        usable = reach.has_cuda()
        if cluster.gpus() and not usable:
            self._say("the cluster declares GPUs that torch can't use: computing on CPUs")
        return "cuda" if usable else "cpu"

    def needed_for(self, rows: int) -> bool:
        """Whether Ray is to do light work on so many rows: on many, or where it is up already."""
        return self.remote or self.connected or rows > few.ROWS

    def stream(
        self, job: Job, units: Sequence[Unit], resources: cluster.Resources
    ) -> Generator[dict[str, Any], None, None]:
        """The report of each unit as it is done: by this process where that is enough, else through Ray."""
        if few.suffices(units) and not self.remote and not resources.gpus:
            return few.stream(job, units)
        self.connect()
        self.check_placeable(resources)
        asked = self._config.workers
        workers = cluster.worker_count(asked, resources)
        room = len(units) if self.remote else workers
        most = max(workers, asked if isinstance(asked, int) else room)
        return cluster.stream(job, units, resources, workers=workers, most=most)

    def check_placeable(self, resources: cluster.Resources) -> None:
        """As `cluster.check_placeable`."""
        cluster.check_placeable(resources, remote=self.remote, say=self._say)
