"""Where time goes: a worker's, which is at one step at a time, and a command's, by stage."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping


class Times:
    """Of one command, which begins now.

    seconds: by stage; first: seconds until the first rows were done, None until then.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.first: float | None = None
        self._began = time.monotonic()

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """What happens inside is this stage."""
        started = time.monotonic()
        yield
        self.seconds[stage] += time.monotonic() - started

    def done(self) -> None:
        """Some rows are."""
        if self.first is None:
            self.first = time.monotonic() - self._began


class Stopwatch:
    """Adds up a worker's seconds by step. Steps are names; going to one ends the one before."""

    def __init__(self, step: str) -> None:
        self.step = step
        self._seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def to(self, step: str) -> None:
        """From here on it is this step."""
        now = time.perf_counter()
        self._seconds[self.step] = self._seconds.get(self.step, 0.0) + now - self._since
        self.step, self._since = step, now

    def seconds(self) -> Mapping[str, float]:
        """What has added up until now, to the millisecond."""
        self.to(self.step)
        return {step: round(spent, 3) for step, spent in self._seconds.items()}
