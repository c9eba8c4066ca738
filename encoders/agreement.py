"""How far two sets of vectors of the same items agree: direction by direction, and as neighbours."""

import numpy as np

_BLOCK = 1024  # queries compared with everything at a time


def least_cosine(left: np.ndarray, right: np.ndarray) -> float:
    """The smallest cosine between corresponding rows of two (B, D) arrays; -1 if any is not finite.

    Two zero rows agree; a zero row and another don't.
    """
    left, right = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = (left * right).sum(1)
    same = (left == right).all(1)
    cosines = np.where(same, 1.0, products / np.where(lengths > 0, lengths, 1.0))
    return float(cosines.min()) if np.isfinite(lengths).all() else -1.0


def recall(exact: np.ndarray, other: np.ndarray, k: int = 10) -> float:
    """The mean share of each row's `k` nearest by cosine, itself left out, that `other` finds too.

    Both (B, D) with B > k, row by row of the same items. A neighbour that is as near as the k-th
    counts as found, so that copies of one item cost nothing. 0 where a vector is not finite.
    """
    if not (np.isfinite(exact).all() and np.isfinite(other).all()):
        return 0.0
    exact, other = _unit(exact), _unit(other)
    found = 0.0
    for start in range(0, len(exact), _BLOCK):
        rows = slice(start, start + _BLOCK)
        true, close = exact[rows] @ exact.T, other[rows] @ other.T
        own = np.arange(len(true)), np.arange(start, start + len(true))
        true[own] = close[own] = -np.inf
        least = np.partition(true, -k, axis=1)[:, -k]
        chosen = np.argpartition(close, -k, axis=1)[:, -k:]
        near = np.take_along_axis(true, chosen, axis=1) >= least[:, None] - 1e-9
        found += float(near.sum())
    return found / (len(exact) * k)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
