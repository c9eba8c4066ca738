"""What a person sees: progress bars on a terminal, plain lines elsewhere, tables."""

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

_EVERY = 5.0  # seconds between plain lines


def console(*, stderr: bool = False) -> Console:
    """A console that never breaks words in a pipe."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table; numbers right-aligned."""
    grid = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row))
    return grid


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def duration(seconds: float) -> str:
    """61 -> 1m01s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


class Bars:
    """Progress on standard error: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._console = console(stderr=True)
        self._bars: Progress | None = None
        self._name, self._unit = "", "rows"
        self._total = self._done = self._failed = self._new = 0
        self._started = self._told = 0.0

    def __enter__(self) -> "Bars":
        if sys.stderr.isatty():
            self._bars = Progress(
                TextColumn("{task.description:<14}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                console=self._console,
            )
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def stage(self, name: str, total: int, done: int = 0, unit: str = "rows") -> None:
        """A stage begins."""
        self._name, self._total, self._done, self._unit = name, total, done, unit
        self._failed = self._new = 0
        self._started = self._told = time.monotonic()
        if self._bars:
            for task in self._bars.task_ids:
                self._bars.stop_task(task)
            self._task = self._bars.add_task(name, total=total, completed=done, text="starting")
        else:
            self.say(f"{name}: {total - done:,} {unit} to do, {done:,} done before")

    def advance(self, rows: int, failed: int = 0, note: str = "") -> None:
        """More rows are done."""
        self._done += rows
        self._new += rows
        self._failed += failed
        now = time.monotonic()
        rate = self._new / max(now - self._started, 1e-9)
        left = (self._total - self._done) / rate if rate else 0
        unit = self._unit
        text = f"{self._done:,}/{self._total:,} {unit}  {rate:,.0f} {unit}/s  {duration(left)} left"
        if self._failed:
            text += f"  {self._failed:,} failed"
        text += f"  {note}" if note else ""
        if self._bars:
            self._bars.update(self._task, completed=self._done, text=text)
        elif now - self._told >= _EVERY or self._done == self._total:
            self._told = now
            self.say(f"{self._name}: {text}")

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text)
