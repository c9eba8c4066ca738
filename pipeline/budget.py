"""The error budget: a hopeless job stops early, with a sentence."""

from collections import Counter
from collections.abc import Iterable

from pipeline import intact
from pipeline.errors import BudgetExceeded
from pipeline.ledger import Ledger, Marker
from pipeline.todo import count_items

_ENOUGH = 30  # items of a modality before its rate means anything


class Budget:
    """Compares, per modality, the items that failed with the items that were there."""

    def __init__(self, rate: float, ledger: Ledger) -> None:
        self.rate = rate
        self.ledger = ledger
        self.tried: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def add_done(self, markers: Iterable[Marker]) -> None:
        """Count units that earlier commands finished."""
        for marker in markers:
            kind, _, modality = marker.unit.partition(".")
            if kind == "extract":
                tried, failed = count_items(marker)
                self.tried[modality] += tried
                self.lost[modality] += failed

    def add(self, unit: str, shard: int, tried: int, failed: int) -> None:
        """Count one finished unit.

        Raises:
            BudgetExceeded: enough items were seen and too many of them failed.
        """
        modality = unit.partition(".")[2]
        self.tried[modality] += tried
        self.lost[modality] += failed
        if failed and self.tried[modality] >= _ENOUGH and self._over(modality):
            raise BudgetExceeded(self._sentence(modality, "so far", self._example(shard, unit)))

    def check(self) -> None:
        """At the end, however few items there were.

        Raises:
            BudgetExceeded: a modality ended over the budget.
        """
        for modality in self.tried:
            if self._over(modality):
                raise BudgetExceeded(self._sentence(modality, "in all", ""))

    def _over(self, modality: str) -> bool:
        return self.lost[modality] > self.rate * self.tried[modality]

    def _sentence(self, modality: str, when: str, example: str) -> str:
        return (
            f"{modality}: {self.lost[modality]:,} of {self.tried[modality]:,} items failed {when}, "
            f"more than max_error_rate {self.rate:g} allows{example}; what is done is kept: look at "
            "errors/ (or `polyfuse status RUN`), mend the cause and use `polyfuse retry RUN`, or "
            "raise max_error_rate and run again"
        )

    def _example(self, shard: int, unit: str) -> str:
        marker = self.ledger.latest(shard, unit)
        part = marker.part("errors") if marker else None
        if part is None:
            return ""
        row = intact.read(self.ledger.run / part.folder / part.name).slice(0, 1).to_pylist()[0]
        return f" (for example {row['uri'] or row['record_id']}: {row['reason']}, {row['message']})"
