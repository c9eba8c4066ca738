"""Checks that the options of many operators share."""

import dataclasses
from typing import Any


def counted(options: Any) -> None:
    """Refuse a size or count below 1; the `__post_init__` of options whose whole numbers are all such.

    Raises:
        ValueError: a whole-numbered option below 1.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise ValueError(f"{field.name}: expected a whole number of at least 1, got {value}")
