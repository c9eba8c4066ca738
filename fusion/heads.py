"""Heads: names for what `head:` puts on a vector, each an objective for the label with its options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HeadEntry:
    """One catalogue line; options: of the objective, beneath those that the user gives."""

    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)


HEADS: dict[str, HeadEntry] = {
    "linear": HeadEntry("one linear map: logistic or linear regression"),
    "mlp": HeadEntry("a hidden layer of 256 before it", {"hidden": [256]}),
}
