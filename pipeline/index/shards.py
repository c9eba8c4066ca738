"""Adding vectors to inverted lists on many workers: each fills a copy of the trained, empty index with
some of the parts, and the copies are merged in the order of the parts.

The lists then hold the same codes in the same order as those of one index that took every part, so who
added them changes no byte. A graph can't be merged, and is linked by one process.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import faiss
import numpy as np

from pipeline.index.recall import ExactNeighbours
from pipeline.index.vectors import PartVectors
from pipeline.store import Part

_BYTES = 64 * 2**20  # of codes that travel at once, about: it is whole parts
_SHARES = 4  # for each worker: the last ones to be done are then small


@dataclass(frozen=True)
class Share:
    """Some parts, one after the other. wanted, ids: (n,) of their rows: which to add, and as what."""

    parts: Sequence[Part]
    metric: str
    wanted: np.ndarray
    ids: np.ndarray


# A filled copy as bytes, and the distances (Q, k) of the nearest vectors in it.
Filled = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Helpers:
    """Workers elsewhere. count: how many there are; fill: does `fill` of each call, in their order."""

    count: int
    fill: Callable[[Iterable[tuple[Any, ...]]], Iterator[Filled]]


def add(index: Any, share: Share, exact: ExactNeighbours) -> None:
    """Add the wanted rows of a share, a part at a time."""
    for start, matrix, _ in PartVectors(share.parts, share.metric).blocks():
        rows = slice(start, start + len(matrix))
        block = np.ascontiguousarray(matrix[share.wanted[rows]])
        index.add_with_ids(block, share.ids[rows][share.wanted[rows]])
        exact.add(block)


def add_elsewhere(index: Any, share: Share, exact: ExactNeighbours, helpers: Helpers) -> None:
    """As `add`, into an index of inverted lists that holds nothing yet."""
    empty = faiss.serialize_index(index)
    nearest = exact.queries, exact.distances.shape[1], exact.metric
    for filled, distances in helpers.fill(
        (empty, smaller, *nearest)
        for smaller in _split(share, _BYTES // index.code_size, helpers.count)
    ):
        index.merge_from(_opened(filled), 0)
        exact.merge(distances)


def fill(empty: np.ndarray, share: Share, queries: np.ndarray, k: int, metric: int) -> Filled:
    """On a worker, with one thread: a copy of the empty index that holds a share."""
    faiss.omp_set_num_threads(1)
    index = _opened(empty)
    exact = ExactNeighbours(queries, k, metric)
    add(index, share, exact)
    return faiss.serialize_index(index), exact.distances


def _opened(data: np.ndarray) -> Any:
    # The tables are for searching, and may exceed the index many times over.
    return faiss.deserialize_index(data, faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)


def _split(share: Share, rows: int, workers: int) -> Iterator[Share]:
    """rows: at most, but for the last part of each."""
    least = min(rows, ceil(len(share.ids) / (_SHARES * workers)))
    first, start, end = 0, 0, 0
    for number, part in enumerate(share.parts, start=1):
        end += part.rows
        if end - start >= least or number == len(share.parts):
            mine = slice(start, end)
            yield Share(
                share.parts[first:number], share.metric, share.wanted[mine], share.ids[mine]
            )
            first, start = number, end
