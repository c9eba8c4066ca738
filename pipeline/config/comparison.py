"""The keys of `compare`: which fusions are compared, by what recipe, in how much time."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipeline.config.base import ComponentConfig, Size, Strict
from pipeline.config.learned import named

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_seconds(value: Any) -> Any:
    """'10m', '90s', '1.5h' or a number -> seconds; anything else is left to pydantic."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([\d.]+)\s*([smh]?)\s*", value)
        if not match:
            raise ValueError(f"expected a time such as 90s, 10m or 1h, got {value!r}")
        return float(match[1]) * _SECONDS[match[2]]
    return value


class CompareConfig(Strict):
    """A comparison of fusions on the stored vectors.

    models: operators, each a name or {name: ..., option: ...}; none: a sensible dozen. inputs: the
    features; none: all. seeds: trainings at the best learning rate. budget: wall clock. hidden:
    widths of the head's hidden layers. dropout: how often a present feature is hidden in training.
    records: at most so many of each part. memory: what training one operator may need.
    """

    models: tuple[Annotated[ComponentConfig, BeforeValidator(named)], ...] = ()
    inputs: tuple[str, ...] = ()
    seeds: int = Field(3, ge=1)
    budget: Annotated[float, BeforeValidator(parse_seconds), Field(gt=0)] = 600.0
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (3e-4, 1e-3, 3e-3), min_length=1
    )
    steps: int = Field(3000, ge=1)
    batch: int = Field(256, ge=2)
    hidden: tuple[int, ...] = (128,)
    dropout: float = Field(0.3, ge=0, lt=1)
    records: int = Field(100_000, ge=10)
    memory: Size = 4_000_000_000
