"""What fits into the budget: how many steps, learning rates and seeds, from measured times."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_ENOUGH = 500  # steps below which rather a seed or a learning rate is saved
_LEAST = 20
_SLACK = 1.2  # workers don't finish at the same moment, and don't start at once


@dataclass(frozen=True)
class Price:
    """Seconds of one training: once, and for every step."""

    fixed: float
    step: float


@dataclass(frozen=True)
class Schedule:
    """The trainings of every candidate: each learning rate with the first seed, the best with all.

    cuts: what was saved against the wish, as sentences.
    """

    steps: int
    seeds: int
    learning_rates: tuple[float, ...]
    cuts: tuple[str, ...] = ()

    @property
    def trainings(self) -> int:
        """Of each candidate."""
        return len(self.learning_rates) + self.seeds - 1

    def seconds(self, prices: Mapping[str, Price], workers: int) -> float:
        """How long all of it takes, about."""
        once = sum(price.fixed + price.step * self.steps for price in prices.values())
        return once * self.trainings / workers * _SLACK


def within(budget: float, prices: Mapping[str, Price], wish: Schedule, workers: int) -> Schedule:
    """The schedule nearest to the wish that takes at most `budget` seconds, as far as one can tell.

    First steps are saved, down to 500; then seeds, down to two; then learning rates; then the second
    seed; then more steps. Early stopping makes it shorter than planned.
    """
    for seeds, rates in _ladder(wish):
        chosen = Schedule(0, seeds, rates)
        fixed = chosen.seconds(prices, workers)
        step = Schedule(1, seeds, rates).seconds(prices, workers) - fixed
        steps = min(wish.steps, int((budget - fixed) / step)) if step > 0 else wish.steps
        if steps >= min(_ENOUGH, wish.steps):
            break
    steps = max(steps, min(_LEAST, wish.steps))
    return Schedule(steps, seeds, rates, tuple(_cuts(wish, steps, seeds, rates)))


def _ladder(wish: Schedule) -> Iterator[tuple[int, tuple[float, ...]]]:
    """What may be tried with the wished number of steps or fewer, from rich to poor."""
    rates = tuple(sorted(wish.learning_rates))
    for seeds in range(wish.seeds, 1, -1):
        yield seeds, rates
    poor = min(wish.seeds, 2)
    for count in range(len(rates), 0, -1):
        yield poor, _middle(rates, count)
    yield 1, _middle(rates, 1)


def _middle(rates: Sequence[float], count: int) -> tuple[float, ...]:
    start = (len(rates) - count + 1) // 2
    return tuple(rates[start : start + count])


def _cuts(wish: Schedule, steps: int, seeds: int, rates: tuple[float, ...]) -> Iterator[str]:
    if steps < wish.steps:
        yield f"{steps:,} steps instead of {wish.steps:,}"
    if seeds < wish.seeds:
        yield f"{seeds} {'seed' if seeds == 1 else 'seeds'} instead of {wish.seeds}"
    if len(rates) < len(wish.learning_rates):
        tried = ", ".join(f"{rate:g}" for rate in rates)
        yield f"learning rate {tried} only, instead of {len(wish.learning_rates)} of them"
