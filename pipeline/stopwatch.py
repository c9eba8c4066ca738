"""Where a worker's time goes: it is at one step at a time."""

import time
from collections.abc import Mapping


class Stopwatch:
    """Adds up seconds by step. Steps are names; going to one ends the one before."""

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
