"""The trainings of a comparison on Ray: every actor holds the records in memory and trains one at a time."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch

from fusion import trial
from fusion.trial import Candidate, Parts, Score, Task
from learning.loop import Recipe
from pipeline import cluster
from pipeline.errors import PolyfuseError

J = TypeVar("J")


class Trainer:
    """An actor. load: gives the records, called once. A failure that repeats itself is a text."""

    def __init__(self, load: Callable[[], Parts], task: Task) -> None:
        torch.set_num_threads(1)
        self.parts = load()
        self.task = task

    def ready(self) -> None:
        """Answers when the records are there."""

    def price(self, candidate: Candidate, recipe: Recipe) -> tuple[float, float] | str:
        """Seconds once and per step."""
        return _said(lambda: trial.price(candidate, self.task, self.parts, recipe))

    def attempt(self, candidate: Candidate, recipe: Recipe) -> Score | str:
        """One training."""
        return _said(lambda: trial.attempt(candidate, self.task, self.parts, recipe))


def _said(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (ValueError, FloatingPointError) as err:
        return str(err)


class Pool:
    """So many actors, all with the same records."""

    def __init__(self, load: Callable[[], Parts], task: Task, workers: int) -> None:
        import ray

        actor = ray.remote(num_cpus=1, max_restarts=3)(Trainer)
        self.actors = [actor.remote(load, task) for _ in range(workers)]

    def wait(self) -> None:
        """Until all of them have started and hold the records.

        Raises:
            PolyfuseError: one can't.
        """
        for actor in self.actors:
            cluster.result(actor.ready.remote(), "starting a worker")

    def map(
        self,
        jobs: Iterable[J],
        call: Callable[[Any, J], Any],
        *,
        until: float = float("inf"),
    ) -> Iterator[tuple[J, Any]]:
        """Each job and what came of it, as they finish; nothing is begun after `until`.

        A worker that dies (out of memory) is started anew; what came of its job is the error.
        """
        import ray

        queue, idle = deque(jobs), list(self.actors)
        running: dict[Any, tuple[Any, J]] = {}
        while queue or running:
            while queue and idle and time.monotonic() < until:
                actor, job = idle.pop(), queue.popleft()
                running[call(actor, job)] = actor, job
            if not running:
                return
            for reference in ray.wait(list(running))[0]:
                actor, job = running.pop(reference)
                idle.append(actor)
                try:
                    yield job, cluster.result(reference, "a training")
                except PolyfuseError as err:
                    yield job, err
