"""Nearest neighbours of a run by any subset of its modalities, by a stored record, or by vectors.

    searcher = Searcher(Path("runs/products"))
    for hit in searcher.search({"text": "red shoe"}, where="price < 50", k=5):
        print(hit.rank, hit.record_id, hit.score)

A higher score is better, whatever the metric; docs/search.md has the formulas. No Ray.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.compute as pc

from pipeline import expression, files
from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.index import manifests
from pipeline.index.opening import open_index
from pipeline.models import inputs
from pipeline.saved import SavedRun, load_saved
from pipeline.search.query import QueryEncoder, check_weights
from pipeline.search.spaces import space_of


@dataclass(frozen=True)
class Hit:
    """One result: rank from 1, record_id, score (higher is better) and the record's own columns."""

    rank: int
    record_id: str
    score: float
    metadata: dict[str, Any]


class Searcher:
    """An open index of a run. Safe for concurrent searches once built.

    index: its name; default: the run's first model that has one, else its first feature.
    threads: for FAISS; default: all cores (on macOS one, because torch brings an OpenMP of its own).

    Raises:
        PolyfuseError: no such run or index.
        Refused: the index is damaged, or was built under other settings than the run has now.
    """

    def __init__(self, run: Path, index: str | None = None, *, threads: int | None = None) -> None:
        run = files.at(run)
        saved = load_saved(run)
        self.name = index or default_index(run, saved)
        faiss.omp_set_num_threads(threads or _threads())
        self.opened = open_index(run, self.name)
        _refuse_stale(self.name, saved, self.opened.manifest)
        self._space = space_of(run, saved, self.opened)
        # Those of the manifest have just been compared; a model's inputs may be models of features.
        self._encoder = QueryEncoder(saved.config, saved.identities)

    @property
    def features(self) -> list[str]:
        """What a query may consist of."""
        return sorted(self._space.features)

    def search(
        self,
        query: Mapping[str, Any] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        id: str | None = None,
        where: str | pc.Expression | None = None,
        k: int = 10,
        models: Mapping[str, str] | None = None,
    ) -> list[Hit]:
        """The k records nearest to the query; fewer only where fewer can be compared and pass.

        Args:
            query: modality name or kind -> text, path or bytes of a medium, number, or vector (D,).
            weights: how much each part counts, 1 by default, negative for "unlike"; "id" for the record.
            id: a record_id whose stored vectors are (part of) the query. It is not its own result.
            where: a filter over the records' columns, for example `price < 50`.
            k: how many.
            models: modality or kind -> folder of its model, where it is not at its first place.

        Raises:
            ConfigError: the query does not fit the run.
            PolyfuseError: a medium that can't be read, an unknown record.
            Refused: a model other than the records' own.
        """
        query, weights = query or {}, weights or {}
        if k < 1:
            raise ConfigError(f"k={k}: expected at least 1")
        asked = set(query) | ({"id"} if id is not None else set())
        if not asked:
            raise ConfigError(
                f"nothing to search by; give {', '.join(self.features)} or a record id"
            )
        check_weights(self._encoder.config, weights, asked)
        terms = self._encoder.terms(query, weights, self._space.features, models or {})
        allowed = self._allowed(where)
        if id is not None:
            number = self._number(id)
            if weights.get("id", 1.0):
                terms += self._space.terms_of(number, weights.get("id", 1.0))
            allowed = self.opened.engine.members.copy() if allowed is None else allowed
            allowed[number] = False
        if not terms:
            raise ConfigError("every part of the query has weight 0")
        return self._hits(*self._space.search(terms, k, allowed))

    def search_many(
        self, vectors: np.ndarray, *, k: int = 10, where: str | pc.Expression | None = None
    ) -> tuple[list[list[str]], np.ndarray]:
        """The k nearest of many vectors in the index's own space, in one call.

        Args:
            vectors: (Q, D) as stored in features/<index> or fused/<index>.
            k: how many.
            where: a filter, as for `search`.

        Returns:
            Q lists of k' record_ids, and (Q, k') float32 scores; k' < k only where fewer exist.
        """
        scores, ids = self.opened.engine.search(vectors, k, self._allowed(where))
        return self.opened.rows.names(ids), scores

    def _allowed(self, where: str | pc.Expression | None) -> np.ndarray | None:
        if where is None:
            return None
        rows = self.opened.rows
        parsed = expression.parse(where, rows.metadata_schema) if isinstance(where, str) else where
        return rows.matching(parsed)

    def _number(self, record_id: str) -> int:
        number = self.opened.rows.id_of(record_id)
        if number is None:
            raise PolyfuseError(f"no record {record_id!r} in index {self.name}")
        if not self.opened.engine.members[number]:
            raise PolyfuseError(
                f"record {record_id!r} has nothing of {', '.join(self.features)}: "
                f"index {self.name} has no vector of it"
            )
        return number

    def _hits(self, ids: np.ndarray, scores: np.ndarray) -> list[Hit]:
        described = self.opened.rows.describe(ids)
        return [
            Hit(rank, record_id, float(score), metadata)
            for rank, (score, (record_id, metadata)) in enumerate(
                zip(scores, described, strict=True), start=1
            )
        ]


def default_index(run: Path, saved: SavedRun) -> str:
    """The first model's index, else the first feature's.

    Raises:
        PolyfuseError: the run has none.
    """
    there = manifests.names(run)
    for name in [*saved.config.models, *(f.name for f in saved.config.features())]:
        if name in there:
            return name
    raise PolyfuseError(f"{run} has no index yet: run `polyfuse index CONFIG` first")


def _refuse_stale(name: str, saved: SavedRun, manifest: manifests.Manifest) -> None:
    """An index outlives a changed configuration; its vectors then are not what the run says.

    Raises:
        Refused: they were made with something else.
        PolyfuseError: the manifest lacks what they were made with.
    """
    for other, built in manifest.identities.items():
        now = saved.identities.get(other)
        if now is None or now.digest != built.digest:
            shown = f"{now.encoder} ({now.digest})" if now else "gone"
            raise Refused(
                f"index {name}: {other} was {built.encoder} ({built.digest}) when it was built and is "
                f"{shown} now: build it again with `polyfuse index CONFIG`"
            )
    needed = inputs(saved.config, name) if name in saved.config.models else []
    if missing := [other for other in needed if other not in manifest.identities]:
        raise PolyfuseError(
            f"index {name}: its manifest does not say what {', '.join(missing)} was made with; "
            f"{manifests.AGAIN}"
        )


def _threads() -> int:
    return 1 if sys.platform == "darwin" else os.cpu_count() or 1
