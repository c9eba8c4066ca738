"""How one index compares: a single feature, blocks side by side, or a learned vector.

A query is a list of weighted terms; only the proportions of its weights matter.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from fusion.blocks import blocks
from pipeline.index.opening import OpenIndex
from pipeline.index.vectors import unit
from pipeline.saved import SavedRun
from pipeline.search.features import FeatureSpace, Ranked
from pipeline.search.learned import FusedSpace
from pipeline.search.query import Term

_CANDIDATES = 200  # rescored at least this many, and this many times k
_CANDIDATES_PER_RESULT = 10
_FILTERED = 2  # times as many under a filter


class Space(Protocol):
    """What an index may be asked."""

    @property
    def features(self) -> Mapping[str, int]:
        """Name -> D of what a query may consist of."""
        ...

    def search(self, terms: Sequence[Term], k: int, allowed: np.ndarray | None) -> Ranked:
        """The k best of the allowed ids for the weighted terms."""
        ...

    def terms_of(self, id: int, weight: float) -> list[Term]:
        """What an indexed record asks for when it is the query."""
        ...


def space_of(run: Path, saved: SavedRun, opened: OpenIndex) -> Space:
    """The way this index compares."""
    name = opened.manifest.name
    if name not in saved.config.models:
        return FeatureSpace(opened)
    if saved.config.models[name].name == "concat":
        options = saved.config.models[name].options
        return BlockSpace(opened, options.get("weights", {}))
    return FusedSpace(run, saved, opened)


class BlockSpace:
    """A concatenation: candidates by inner product, then rescored over what both sides have.

    score(record) = sum_t w_t b_t cos_t / sum_t |w_t| b_t over the terms t whose feature the record
    has; b_t is the model's weight of the feature, cos_t the cosine of query and record in its block.
    So a record scores the same for an image whatever else it has.
    """

    def __init__(self, opened: OpenIndex, weights: Mapping[str, float]) -> None:
        self.opened = opened
        manifest = opened.manifest
        dims = {
            n: identity.dim for n, identity in manifest.identities.items() if n != manifest.name
        }
        placed = blocks(dims, weights)
        self.blocks = {name: block for name, block in placed.items() if block.weight > 0}
        self.features = {name: dims[name] for name in self.blocks}
        self._having: dict[str, np.ndarray] = {}

    def search(self, terms: Sequence[Term], k: int, allowed: np.ndarray | None) -> Ranked:
        """Search by the terms, alone and together, and rescore what was found."""
        total = sum(abs(t.weight) for t in terms)
        terms = [Term(t.feature, unit(t.vector), t.weight / total) for t in terms]
        filtered = allowed is not None
        width = max(_CANDIDATES, _CANDIDATES_PER_RESULT * k) * (_FILTERED if filtered else 1)
        ids = self._candidates(terms, width, allowed)
        scores = self._rescore(terms, ids)
        order = np.lexsort((ids, -scores))[:k]
        return ids[order], scores[order]

    def terms_of(self, id: int, weight: float) -> list[Term]:
        """Every block that is not zero."""
        vector = self.opened.engine.vectors(np.array([id]))[0]
        found = {name: vector[b.start : b.stop] for name, b in self.blocks.items()}
        return [Term(name, unit(block), weight) for name, block in found.items() if block.any()]

    def _candidates(self, terms: list[Term], width: int, allowed: np.ndarray | None) -> np.ndarray:
        """By each term alone among the records that have its feature, and by all terms together."""
        asked = [([t], self._has(t.feature)) for t in terms]
        if len(terms) > 1:
            having = np.logical_or.reduce([self._has(t.feature) for t in terms])
            asked.append((terms, having))
        found = []
        for some, having in asked:
            mask = having if allowed is None else having & allowed
            query = self._vector(some)
            if query.any():
                found.append(self.opened.engine.search(query[None], width, mask)[1][0])
        return np.unique(np.concatenate(found))

    def _vector(self, terms: list[Term]) -> np.ndarray:
        """What the concatenation makes of the terms: inner product = sum_t w_t b_t cos_t."""
        vector = np.zeros(self.opened.manifest.dim, np.float32)
        for term in terms:
            block = self.blocks[term.feature]
            vector[block.start : block.stop] += term.weight * block.scale * term.vector
        return vector

    def _rescore(self, terms: list[Term], ids: np.ndarray) -> np.ndarray:
        vectors = self.opened.engine.vectors(ids).astype(np.float64)
        total, weight = np.zeros(len(ids)), np.zeros(len(ids))
        for term in terms:
            block, has = self.blocks[term.feature], self._has(term.feature)[ids]
            cosine = vectors[:, block.start : block.stop] @ term.vector / block.scale
            total += np.where(has, term.weight * block.weight * cosine, 0)
            weight += np.where(has, abs(term.weight) * block.weight, 0)
        return total / weight

    def _has(self, feature: str) -> np.ndarray:
        if feature not in self._having:
            self._having[feature] = self.opened.rows.present([feature])
        return self._having[feature]
