"""Where each feature lies in a concatenated vector, and how much it counts. No torch: search uses it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """One feature's slice of the vector; weight: its share of the squared length, all summing to 1."""

    start: int
    stop: int
    weight: float

    @property
    def scale(self) -> float:
        """What the unit vector of the feature is multiplied by."""
        return math.sqrt(self.weight)


def blocks(dims: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, Block]:
    """Lay the features side by side, ordered by name. No weights at all means equal ones.

    Raises:
        ValueError: no feature, an unknown name, a missing or negative weight, or weights that are all 0.
    """
    if not dims:
        raise ValueError("a concatenation needs at least one feature")
    for name in set(weights) - set(dims):
        raise ValueError(f"weights: unknown feature {name!r}; there are: {', '.join(sorted(dims))}")
    missing = sorted(set(dims) - set(weights)) if weights else []
    if missing:
        raise ValueError(
            f"weights: {', '.join(missing)} has none; give every feature one, or no weights"
        )
    raw = {name: float(weights.get(name, 1.0)) for name in sorted(dims)}
    total = sum(raw.values())
    if not all(math.isfinite(w) and w >= 0 for w in raw.values()) or not total > 0:
        raise ValueError(
            f"weights: expected finite numbers >= 0, not all zero, got {dict(weights)}"
        )
    placed, start = {}, 0
    for name, weight in raw.items():
        placed[name] = Block(start, start + dims[name], weight / total)
        start += dims[name]
    return placed
