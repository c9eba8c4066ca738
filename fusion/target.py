"""Operators with a direction: one feature, the target, is acted on by all others."""

from collections.abc import Mapping


def target_of(dims: Mapping[str, int], chosen: str | None) -> str:
    """The feature the user names, else the first by name.

    Raises:
        ValueError: it is none of the features.
    """
    if chosen is not None and chosen not in dims:
        raise ValueError(
            f"target: unknown feature {chosen!r}; there are: {', '.join(sorted(dims))}"
        )
    return chosen or min(dims)


def others(dims: Mapping[str, int], target: str) -> dict[str, int]:
    """All features but the target, by name."""
    return {name: dims[name] for name in sorted(dims) if name != target}
