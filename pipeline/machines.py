"""Where a command computes: on this machine or on a cluster, with GPUs or without."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

from pipeline import cluster, reach
from pipeline.sources import SourceSpec


class Machines:
    """Ray for one command, started or joined when the first work needs it.

    Args:
        address: of a cluster; None: this machine, unless RAY_ADDRESS says another.
        workers: as configured.
        source, lease: what workers elsewhere must be able to reach, see `reach.check`.
        say: takes a sentence for the person who waits.
        stack: ends Ray.
    """

    def __init__(
        self,
        address: str | None,
        workers: int | str,
        source: SourceSpec,
        lease: Path,
        say: Callable[[str], None],
        stack: contextlib.ExitStack,
    ) -> None:
        self.address = address
        self.remote = cluster.is_remote(address)
        self._workers = workers
        self._reached = source, lease
        self._say = say
        self._stack = stack
        self.connected = False

    def connect(self) -> None:
        """Not in a thread beside others: Ray ends its helpers with the thread that started them, and
        forks, which stops the threads of numpy's BLAS wherever they are."""
        if self.connected:
            return
        self._stack.enter_context(cluster.connected(self.address, self._workers))
        self.connected = True
        if self.remote:
            reach.check(*self._reached)

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

    def check_placeable(self, resources: cluster.Resources) -> None:
        """As `cluster.check_placeable`."""
        cluster.check_placeable(resources, remote=self.remote, say=self._say)
