"""The index of a learned fusion: queries go through the model, or are ranked feature by feature.

A query is a list of weighted terms; only the proportions of its weights matter.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from pipeline.errors import ConfigError
from pipeline.index.opening import OpenIndex, open_index
from pipeline.index.rows import Rows
from pipeline.models import Record, inputs, roots
from pipeline.saved import SavedRun
from pipeline.search.features import FeatureSpace, Ranked, stored
from pipeline.search.query import Term

if TYPE_CHECKING:
    from fusion.base import Fusion

_DEPTH = 200  # ranks of each term that count at least, and this many times k:
_DEPTH_PER_RESULT = 10
_CALM = 60  # ranks far down differ little (Cormack, Clarke and Buettcher, SIGIR 2009)


class FusedSpace:
    """One value of each feature, weighted alike: fused as the records were; score: the metric's.

    A weighted or mixed query, or one with "unlike", is nothing the model has learned to fuse:
    - in a coordinated space, where each term alone is a vector: the mean of their scores, as for an
      index of one feature;
    - otherwise by rank fusion over the indexes of the features:
      score(record) = sum_t w_t 61 / (60 + rank_t) / sum_t |w_t|, over the terms that rank it.
    """

    def __init__(self, run: Path, saved: SavedRun, opened: OpenIndex) -> None:
        self.run = run
        self.config = saved.config
        self.opened = opened
        self.name = opened.manifest.name
        self.features = {f: saved.identities[f].dim for f in roots(saved.config, self.name)}
        self._model = cache(self._load)
        self._index = cache(lambda feature: open_index(run, feature))

    def search(self, terms: Sequence[Term], k: int, allowed: np.ndarray | None) -> Ranked:
        """Fuse the terms and search, or search by each and combine."""
        if _alike(terms, self.name):
            query = self._vector(terms)
            if not query.any():
                raise ConfigError(
                    f"{self.name} makes a zero vector of the query: nothing is near it"
                )
            scores, ids = self.opened.engine.search(query[None], k, allowed)
            return ids[0], scores[0]
        if self._coordinated():
            apart = [Term(self.name, self._vector([term]), term.weight) for term in terms]
            return FeatureSpace(self.opened).search(apart, k, allowed)
        return self._by_rank(terms, k, allowed)

    def terms_of(self, id: int, weight: float) -> list[Term]:
        """The stored vector."""
        return [stored(self.opened, id, weight)]

    def _vector(self, terms: Sequence[Term]) -> np.ndarray:
        if terms[0].feature == self.name:
            return terms[0].vector
        return self._fuse(self.name, {term.feature: term.vector for term in terms})

    def _fuse(self, model: str, asked: dict[str, np.ndarray]) -> np.ndarray:
        """The vector of a model; the models it takes have one of any record, as they had in the run."""
        import torch

        found = {}
        for name in inputs(self.config, model):
            if name in self.config.models:
                found[name] = self._fuse(name, asked)
            elif name in asked:
                found[name] = asked[name]
        with torch.inference_mode():
            output = self._model(model)(
                {name: torch.from_numpy(vector)[None] for name, vector in found.items()},
                {name: torch.ones(1, dtype=torch.bool) for name in found},
            )
        return output.vector[0].numpy()

    def _coordinated(self) -> bool:
        from fusion.coordinated.base import Coordinated

        return isinstance(self._model(self.name), Coordinated)

    def _load(self, model: str) -> "Fusion":
        from pipeline.fuse import load_model

        if model == self.name:
            self._check_weights()
        return load_model(self.run / "models" / model)

    def _check_weights(self) -> None:
        record, built = Record.read(self.run, self.name), self.opened.manifest.identities[self.name]
        if record is None or record.identity.digest != built.digest:
            found = record.identity.digest if record else "none"
            raise ConfigError(
                f"the index {self.name} was built with the model {built.digest}, and the run now "
                f"has {found}: run `polyfuse run CONFIG` to fuse and index again"
            )

    def _by_rank(self, terms: Sequence[Term], k: int, allowed: np.ndarray | None) -> Ranked:
        if not any(term.weight > 0 for term in terms):
            raise ConfigError(
                f"{self.name} can't be asked by what is unlike alone: give a part with a weight > 0"
            )
        depth = max(_DEPTH, _DEPTH_PER_RESULT * k)
        scores = np.zeros(self.opened.rows.next_id)
        candidate = np.zeros(len(scores), bool)
        for term in terms:
            ids = self._ranked(term, depth, allowed)
            there = ids >= 0
            share = (_CALM + 1) / (_CALM + 1 + np.arange(len(ids)))
            scores[ids[there]] += term.weight * share[there]
            candidate[ids[there]] |= term.weight > 0
        ids = np.flatnonzero(candidate)
        total = sum(abs(term.weight) for term in terms)
        order = np.lexsort((ids, -scores[ids]))[:k]
        return ids[order], (scores[ids] / total)[order]

    def _ranked(self, term: Term, depth: int, allowed: np.ndarray | None) -> np.ndarray:
        """Ids of this index, nearest to the term first; -1 for a record that it does not have."""
        if term.feature == self.name:
            return FeatureSpace(self.opened).search([_plain(term)], depth, allowed)[0]
        other, mine = self._index(term.feature), self.opened.rows
        mask = None
        if allowed is not None:
            mask = np.zeros(other.rows.next_id, bool)
            theirs = _translated(np.flatnonzero(allowed), mine, other.rows)
            mask[theirs[theirs >= 0]] = True
        ids = FeatureSpace(other).search([_plain(term)], depth, mask)[0]
        return _translated(ids, other.rows, mine)


def _alike(terms: Sequence[Term], model: str) -> bool:
    """Whether the terms are what the model fuses: each feature once, all weighted the same."""
    features = {term.feature for term in terms}
    mixed = len(features) < len(terms) or (model in features and len(terms) > 1)
    return not mixed and terms[0].weight > 0 and len({term.weight for term in terms}) == 1


def _plain(term: Term) -> Term:
    return Term(term.feature, term.vector, 1.0)


def _translated(ids: np.ndarray, source: Rows, target: Rows) -> np.ndarray:
    """Ids of the same records in another index of the run; -1 where it has none."""
    names = source.record_ids.take(source.positions(ids))
    place = pc.index_in(names, value_set=target.record_ids).fill_null(-1).to_numpy()
    return np.where(place >= 0, target.ids[place], -1)
