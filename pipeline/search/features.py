"""The index of one feature, and what all spaces share. A query is a list of weighted terms."""

from collections.abc import Sequence

import numpy as np

from pipeline.errors import ConfigError
from pipeline.index.opening import OpenIndex
from pipeline.index.vectors import unit
from pipeline.search.query import Term

Ranked = tuple[np.ndarray, np.ndarray]  # ids (n,) int64, scores (n,), falling


class FeatureSpace:
    """One feature, or any index asked by its own vectors.

    cosine: score = sum_t w_t cos_t. ip: sum_t w_t <q_t, x>. l2: minus the distance to the weighted
    mean of the terms.
    """

    def __init__(self, opened: OpenIndex) -> None:
        self.opened = opened
        self.features = {opened.manifest.name: opened.manifest.dim}

    def search(self, terms: Sequence[Term], k: int, allowed: np.ndarray | None) -> Ranked:
        """One search in the index, by the weighted sum of the terms."""
        metric = self.opened.manifest.metric
        total = sum(t.weight if metric == "l2" else abs(t.weight) for t in terms)
        if not total > 0:
            raise ConfigError("l2: the weights of a query must have a positive sum")
        vectors = np.stack([t.vector for t in terms])
        vectors = unit(vectors) if metric == "cosine" else vectors
        weights = np.array([t.weight / total for t in terms], np.float32)
        query = (weights[:, None] * vectors).sum(axis=0)
        if metric != "l2" and not query.any():
            raise ConfigError("the terms of the query cancel each other out")
        scores, ids = self.opened.engine.search(query[None], k, allowed)
        length = np.linalg.norm(query) if metric == "cosine" and len(terms) > 1 else 1
        return ids[0], scores[0] * length

    def terms_of(self, id: int, weight: float) -> list[Term]:
        """The stored vector."""
        return [stored(self.opened, id, weight)]


def stored(opened: OpenIndex, id: int, weight: float) -> Term:
    """The vector that an index has of a record, as a term."""
    return Term(opened.manifest.name, opened.engine.vectors(np.array([id]))[0], weight)
