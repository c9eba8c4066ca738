"""What a fusion can be trained for: one explicit table, name -> where it lives and what it needs.

An objective is a module beside the fusion: decoders and heads have weights too, and a run keeps them
in a file of their own. `own` is the one a model brings along (autoencoders, coordinated spaces).
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.base import Fusion

if TYPE_CHECKING:
    from fusion.objectives.base import Objective


@dataclass(frozen=True)
class ObjectiveEntry:
    """One catalogue line: "module:Class", a summary, and what it needs ("labels")."""

    target: str
    summary: str
    needs: frozenset[str] = frozenset()


OBJECTIVES: dict[str, ObjectiveEntry] = {
    "reconstruct": ObjectiveEntry(
        "fusion.objectives.reconstruct:Reconstruct", "each present feature from the fused vector"
    ),
    "infonce": ObjectiveEntry(
        "fusion.coordinated.contrastive:InfoNCE", "views of a record find each other in the batch"
    ),
    "siglip": ObjectiveEntry(
        "fusion.coordinated.contrastive:SigLIP", "every pair of views judged by itself"
    ),
    "dcca": ObjectiveEntry("fusion.coordinated.correlation:DCCA", "correlated views, by pairs"),
    "dgcca": ObjectiveEntry(
        "fusion.coordinated.correlation:DGCCA", "correlated views, all at once"
    ),
    "barlow-twins": ObjectiveEntry(
        "fusion.coordinated.redundancy:BarlowTwins", "views alike, coordinates uncorrelated"
    ),
    "vicreg": ObjectiveEntry(
        "fusion.coordinated.redundancy:VICReg", "views alike, coordinates varying and uncorrelated"
    ),
    "classify": ObjectiveEntry(
        "fusion.objectives.classify:Classify",
        "one class of several, calibrated",
        needs=frozenset({"labels"}),
    ),
    "regress": ObjectiveEntry(
        "fusion.objectives.regress:Regress", "numbers", needs=frozenset({"labels"})
    ),
    "multilabel": ObjectiveEntry(
        "fusion.objectives.multilabel:Multilabel",
        "any number of labels, calibrated",
        needs=frozenset({"labels"}),
    ),
    "experts": ObjectiveEntry(
        "fusion.objectives.experts:Experts",
        "each feature's own classifier; for decision-mean and decision-product",
        needs=frozenset({"labels"}),
    ),
    "elbo": ObjectiveEntry(
        "fusion.objectives.elbo:ELBO", "evidence lower bound of a fusion with a posterior"
    ),
}


def target(name: str) -> Any:
    """The class of an objective."""
    if name not in OBJECTIVES:
        raise ValueError(f"unknown objective {name!r}; known: {', '.join(sorted(OBJECTIVES))}")
    module, _, attribute = OBJECTIVES[name].target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def build(name: str, fusion: Fusion, **options: Any) -> "Objective":
    """The objective of this name for a built fusion."""
    found = target(name)
    return found(fusion, found.Options(**options))
