"""One FAISS index and how it is searched: approximate, exhaustive under a filter, reranked if lossy.

Q queries, k neighbours, D dimensions. Scores are higher for nearer: the inner product (for "cosine",
of unit vectors), or minus the Euclidean distance for "l2". Parameters travel with each call, so
concurrent searches share an index safely.
"""

import math
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any

import faiss
import numpy as np

from pipeline.index.vectors import unit

METRICS = {
    "cosine": faiss.METRIC_INNER_PRODUCT,
    "ip": faiss.METRIC_INNER_PRODUCT,
    "l2": faiss.METRIC_L2,
}
# Filters: scan the matching rows when they are few in number or in proportion, as OpenSearch
# (number x dimension) and Vespa (share) do; a graph walk finds too few of them.
_SCAN_VALUES = 2_048_000
_SCAN_SHARE = 0.05
_WIDEST = 4096  # efSearch under a filter never exceeds this: then a scan is cheaper
_CHUNK = 16_384  # candidate rows read back at a time

# ids (n,) -> their stored vectors (n, D) as the index metric has them
ReadVectors = Callable[[np.ndarray], np.ndarray]


class Engine:
    """Args: index: IDMap over Flat, HNSW, or an HNSW of codes beside whole vectors, or an IVF index with
    ids of its own; settings: efSearch or nprobe and, where codes are compared, rerank (candidates
    per wanted result, which are then compared by their true vectors); read: gives true vectors;
    next_id: one more than the largest id."""

    def __init__(
        self,
        index: Any,
        metric: str,
        settings: Mapping[str, int],
        read: ReadVectors,
        next_id: int,
    ) -> None:
        self.index = index
        self.metric = metric
        self.settings = settings
        self.next_id = next_id
        self._read = read
        # What is searched by `place`: of an IDMap a position in its storage, of inverted lists an id.
        self._inner = faiss.downcast_index(index.index) if hasattr(index, "id_map") else index
        self._inverted = isinstance(self._inner, faiss.IndexIVF)
        self._refined = isinstance(self._inner, faiss.IndexRefine)
        self._graph = self._refined or isinstance(self._inner, faiss.IndexHNSW)
        # What the same widths ask for without a filter: to make it takes longer than to pass it.
        self._unfiltered = lru_cache(maxsize=64)(self._parameters)

    @cached_property
    def ids(self) -> np.ndarray:
        """(n,) the ids in the index, in the order of its storage."""
        if not self._inverted:
            return faiss.vector_to_array(self.index.id_map)
        lists = self._inner.invlists
        found = [np.empty(0, np.int64)]
        for number in range(self._inner.nlist):
            size = lists.list_size(number)
            if size:
                found.append(faiss.rev_swig_ptr(lists.get_ids(number), size).copy())
        return np.concatenate(found)

    @cached_property
    def members(self) -> np.ndarray:
        """(next_id,) bool: which ids have an entry."""
        mask = np.zeros(self.next_id, bool)
        mask[self.ids] = True
        return mask

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        settings: Mapping[str, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The nearest entries.

        Args:
            queries: (Q, D).
            k: how many; fewer come back only where fewer exist.
            allowed: (next_id,) bool by id, or None for all.
            settings: instead of the calibrated ones.

        Returns:
            (Q, k') float32 scores, falling, and (Q, k') int64 ids, k' = min(k, allowed entries).
        """
        queries = self.prepare(queries)
        total = self.index.ntotal
        if allowed is not None:
            allowed = allowed & self.members if self._inverted else allowed[self.ids]
        matches = total if allowed is None else int(allowed.sum())
        if matches == total:
            allowed = None
        k = min(k, matches)
        if not k or not len(queries):
            return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        settings = self.settings if settings is None else settings
        reread = "rerank" in settings and not self._refined
        width = min(matches, k * settings["rerank"]) if reread else k
        scan = allowed is not None and (
            matches * self.index.d <= _SCAN_VALUES or matches < _SCAN_SHARE * total
        )
        if scan:
            distances, place = self._scan(queries, width, allowed)
        else:
            distances, place = self._walk(queries, width, allowed, settings, total / matches)
            if place.min() < 0:  # never a short list: a graph or its lists may miss some
                short = (place < 0).any(axis=1)
                distances[short], place[short] = self._scan(queries[short], width, allowed)
        ids = place if self._inverted else self.ids[place]
        if reread:
            distances = self._true_distances(queries, ids)
        distances, ids = self._ranked(distances, ids)
        return self._scores(distances[:, :k]), ids[:, :k]

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """(n,) ids that have an entry -> (n, D) vectors as they were indexed."""
        if self._inverted:
            return self._read(ids)
        place = self._storage_order[np.searchsorted(self.ids, ids, sorter=self._storage_order)]
        return self._whole.reconstruct_batch(np.ascontiguousarray(place))

    def prepare(self, queries: np.ndarray) -> np.ndarray:
        """(Q, D) of any float type -> what FAISS takes, of unit length for "cosine"."""
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.index.d:
            raise ValueError(f"expected queries (Q, {self.index.d}), got {queries.shape}")
        if not np.isfinite(queries).all():
            raise ValueError("a query vector holds NaN or infinity")
        return unit(queries) if self.metric == "cosine" else queries

    @cached_property
    def _storage_order(self) -> np.ndarray:
        return np.argsort(self.ids)

    @cached_property
    def _whole(self) -> Any:
        """The IndexFlat of true vectors, of an index without inverted lists."""
        if self._refined:
            return faiss.downcast_index(self._inner.refine_index)
        return faiss.downcast_index(self._inner.storage) if self._graph else self._inner

    def _walk(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None,
        settings: Mapping[str, int],
        dilution: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The index's own search; under a filter it looks as much further as it is diluted."""
        effort, rerank = 0, settings.get("rerank", 1)
        if self._graph:
            width = math.ceil(max(settings["efSearch"], max(2, rerank) * k) * dilution)
            effort = min(width, max(_WIDEST, rerank * k))
        elif self._inverted:
            effort = min(math.ceil(settings["nprobe"] * dilution), self._inner.nlist)
        if allowed is None:
            params = self._unfiltered(effort, rerank)
        else:
            params = self._parameters(effort, rerank, sel=_bitmap(allowed))
        return self._inner.search(queries, k, params=params)

    def _parameters(self, effort: int, rerank: int, **selector: Any) -> Any:
        """What FAISS takes with a search. effort: the width of a graph's walk, or how many lists."""
        if self._refined:
            walk = faiss.SearchParametersHNSW(efSearch=effort, **selector)
            return faiss.IndexRefineSearchParameters(k_factor=rerank, base_index_params=walk)
        if self._graph:
            return faiss.SearchParametersHNSW(efSearch=effort, **selector)
        if self._inverted:
            return faiss.SearchParametersIVF(nprobe=effort, **selector)
        return faiss.SearchParameters(**selector)

    def _scan(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Every allowed entry is compared."""
        if self._inverted:
            return self._walk(queries, k, allowed, {"nprobe": self._inner.nlist}, 1)
        selector = {} if allowed is None else {"sel": _bitmap(allowed)}
        return self._whole.search(queries, k, params=faiss.SearchParameters(**selector))

    def _true_distances(self, queries: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Distances of candidates from their true vectors, read back a chunk at a time."""
        distances = np.empty(ids.shape, np.float32)
        wanted, inverse = np.unique(ids, return_inverse=True)
        inverse = inverse.reshape(ids.shape)
        for start in range(0, len(wanted), _CHUNK):
            vectors = self._read(wanted[start : start + _CHUNK])
            rows, columns = np.nonzero((inverse >= start) & (inverse < start + _CHUNK))
            ours, theirs = queries[rows], vectors[inverse[rows, columns] - start]
            if self.metric == "l2":
                distances[rows, columns] = ((ours - theirs) ** 2).sum(axis=1)
            else:
                distances[rows, columns] = (ours * theirs).sum(axis=1)
        return distances

    def _ranked(self, distances: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nearest first, and of equally near ones the smaller id. FAISS sorts, but not by id."""
        far = distances if self.metric == "l2" else -distances
        if (far[:, 1:] > far[:, :-1]).all():
            return distances, ids
        order = np.lexsort((ids, far))
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(ids, order, axis=1)

    def _scores(self, distances: np.ndarray) -> np.ndarray:
        return -np.sqrt(np.maximum(distances, 0)) if self.metric == "l2" else distances


def _bitmap(mask: np.ndarray) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
