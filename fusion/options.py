"""Checks that the options of many operators share."""

import dataclasses
from collections.abc import Collection
from typing import Any


def counted(options: Any, *, or_none: Collection[str] = ()) -> None:
    """Refuse a size or count below 1; the `__post_init__` of options whose whole numbers are all such.

    or_none: the counts that may be 0.

    Raises:
        ValueError: a whole-numbered option below 1.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        least = int(field.name not in or_none)
        if isinstance(value, int) and not isinstance(value, bool) and value < least:
            raise ValueError(
                f"{field.name}: expected a whole number of at least {least}, got {value}"
            )


def at_least_zero(options: Any, *names: str) -> None:
    """Refuse a negative weight or power.

    Raises:
        ValueError: one of these options is below 0, or not a number.
    """
    for name in names:
        value = getattr(options, name)
        if not value >= 0:
            raise ValueError(f"{name}: expected a number of at least 0, got {value}")


def above_zero(options: Any, *names: str) -> None:
    """Refuse what must not be 0 either, a ridge for example.

    Raises:
        ValueError: one of these options is 0 or below, or not a number.
    """
    for name in names:
        value = getattr(options, name)
        if not value > 0:
            raise ValueError(f"{name}: expected a number above 0, got {value}")
