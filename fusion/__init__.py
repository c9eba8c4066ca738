"""The fusion operators: one explicit table, name -> what it needs and where it lives.

A new operator is one module and one line here.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusion.base import Fusion


@dataclass(frozen=True)
class Entry:
    """One catalogue line: "module:Class", a summary, and what training needs ("labels", "sequences").

    metric: the index metric its vectors must have ("ip"); None: the run's own choice.
    """

    target: str
    summary: str
    needs: frozenset[str] = frozenset()
    metric: str | None = None


FUSIONS: dict[str, Entry] = {
    # Never renormalised: an absent modality must not make the others count more.
    "concat": Entry(
        "fusion.concat:Concat", "unit blocks side by side; needs no training", metric="ip"
    ),
}


def _target(name: str) -> Any:
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}; known: {', '.join(sorted(FUSIONS))}")
    module, _, attribute = FUSIONS[name].target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def options_type(name: str) -> type:
    """The frozen dataclass that says which options this operator takes."""
    return _target(name).Options


def build(name: str, dims: Mapping[str, int], **options: Any) -> "Fusion":
    """Build an operator over features of these lengths, e.g. dims={"image": 384, "text": 384}."""
    target = _target(name)
    return target(dims, target.Options(**options))
