"""What long work tells whoever watches; a terminal, a log or a test implements it."""

from typing import Protocol


class Progress(Protocol):
    """Told by the driver, in this order: stage, advance ..., stage, ..."""

    def stage(self, name: str, total: int, done: int = 0, unit: str = "rows") -> None:
        """A stage of `total` rows begins; `done` of them were finished by an earlier command."""
        ...

    def advance(self, rows: int, failed: int = 0, note: str = "") -> None:
        """So many more rows are done, and so many of them failed; `note`: how it goes, in a word."""
        ...

    def say(self, text: str) -> None:
        """One line for the person."""
        ...


class Silent:
    """Tells nobody."""

    def stage(self, name: str, total: int, done: int = 0, unit: str = "rows") -> None:
        """Ignored."""

    def advance(self, rows: int, failed: int = 0, note: str = "") -> None:
        """Ignored."""

    def say(self, text: str) -> None:
        """Ignored."""
