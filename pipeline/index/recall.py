"""Recall against exact search, tie-tolerant, on queries that are not in the index.

Q queries, k neighbours. Internally smaller is nearer: L2 is FAISS's squared distance, an inner
product is negated, so that one order serves both.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import faiss
import numpy as np

K = 10
TARGET = 0.99
_ERRORS = 2  # standard errors of what is measured, so that other queries reach the target, too
_FINE = 16  # a setting is found to within a sixteenth of its value
TOLERANCE = (
    1e-6  # relative to the squared lengths: rounding of equal distances, not a second chance
)

Settings = Mapping[str, int]
# (queries, k, settings) -> (Q, k) distances, smaller is nearer, inf where there is none
Search = Callable[[np.ndarray, int, Settings], np.ndarray]


@dataclass(frozen=True)
class Measured:
    """Recall over some queries, and its standard error. Where a walk is lost among clusters it finds
    nothing, so that few queries make the error large."""

    value: float
    error: float

    @property
    def safe(self) -> bool:
        """Whether other queries will reach TARGET as well."""
        return self.value - _ERRORS * self.error >= TARGET


class ExactNeighbours:
    """The distances of the k nearest, kept up to date while the vectors stream by."""

    def __init__(self, queries: np.ndarray, k: int, metric: int) -> None:
        self.queries = queries
        self.metric = metric
        self.distances = np.full((len(queries), k), np.inf, np.float32)

    def add(self, block: np.ndarray) -> None:
        """Take (n, D) more vectors into account."""
        k = min(self.distances.shape[1], len(block))
        if not k or not len(self.queries):
            return
        found, _ = faiss.knn(self.queries, block, k, metric=self.metric)
        self.merge(nearer_is_smaller(found, self.metric))

    def merge(self, distances: np.ndarray) -> None:
        """Take the (Q, n) distances of other vectors into account, those that were kept elsewhere."""
        both = np.concatenate([self.distances, distances], axis=1)
        self.distances = np.sort(both, axis=1)[:, : self.distances.shape[1]]

    def recall(self, found: np.ndarray) -> Measured:
        """How many results are as near as the true k-th neighbour. found: (Q, k) distances."""
        last = self.distances[:, -1:]
        scale = np.maximum((self.queries**2).sum(axis=1, keepdims=True), np.abs(last))
        shares = (found <= last + TOLERANCE * scale).mean(axis=1)
        return Measured(float(shares.mean()), float(shares.std() / np.sqrt(len(shares))))


def nearer_is_smaller(distances: np.ndarray, metric: int) -> np.ndarray:
    """What FAISS found, with inner products negated."""
    return -distances if metric == faiss.METRIC_INNER_PRODUCT else distances


def calibrate(
    search: Search, exact: ExactNeighbours, steps: Iterable[Settings]
) -> tuple[Settings, Measured | None]:
    """The first of `steps` (cheapest first) that reaches TARGET safely, else the best of them.

    Returns:
        The settings and their recall; None where there are no queries to measure with.
    """
    best: tuple[Settings, Measured] | None = None
    for settings in steps:
        if not len(exact.queries):
            return settings, None
        found = exact.recall(search(exact.queries, exact.distances.shape[1], settings))
        if best is None or found.value > best[1].value:
            best = settings, found
        if found.safe:
            break
    assert best is not None, "an index type without settings still has one: the empty one"
    return best


def tighten(
    search: Search, exact: ExactNeighbours, reached: tuple[Settings, Measured], name: str
) -> tuple[Settings, Measured]:
    """Lower one setting, by bisection down to its half, as far as TARGET is still reached safely.

    reached: settings and their recall, as `calibrate` found them by doubling.
    """
    best, measured = reached
    low, high = best[name] // 2, best[name]
    while measured.safe and high - low > max(1, high // _FINE):
        middle = (low + high) // 2
        settings = {**best, name: middle}
        found = exact.recall(search(exact.queries, exact.distances.shape[1], settings))
        if found.safe:
            best, measured, high = settings, found, middle
        else:
            low = middle
    return best, measured
