"""What is searched: vectors, queries to tune by, queries to measure by, and their true neighbours.

N vectors, Q queries, D dimensions. A set is a folder of base.npy (N, D), tune.npy and asked.npy (Q, D),
and of tune_near.npy and asked_near.npy (Q,): the squared distance of the 10th neighbour. Vectors that
are compared by their cosine are stored at length 1, where both orders agree.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np

K = 10
TUNE, ASKED = 1000, 5000
_BLOCK = 50_000
_CLUSTERS, _LATENT, _SEED = 1000, 32, 0

METRICS = {"mnist": "l2", "clustered": "cosine"}


def write(name: str, folder: Path, data: Path, rows: int) -> None:
    """Make a set, unless it is there. rows: of the clustered one."""
    if (folder / "asked_near.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    base, queries = _mnist(data) if name == "mnist" else _clustered(rows)
    np.save(folder / "base.npy", base)
    for kind, some in (("tune", queries[:TUNE]), ("asked", queries[TUNE : TUNE + ASKED])):
        np.save(folder / f"{kind}.npy", some)
        np.save(folder / f"{kind}_near.npy", _tenth(base, some))


def _mnist(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of the 60,000 training digits, and of the test digits."""

    def pixels(file: str) -> np.ndarray:
        raw = gzip.decompress((data / "mnist" / file).read_bytes())
        return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784).astype(np.float32)

    return pixels("train-images-idx3-ubyte.gz"), pixels("t10k-images-idx3-ubyte.gz")


def _clustered(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of 384 numbers around 1000 centres; fewer rows are the first of more.

    Like embeddings: clusters of very different sizes that overlap, and most of the variance inside
    them in a few directions. Queries come from the same distribution.
    """
    shape = np.random.default_rng([_SEED, 0])
    centres = shape.normal(size=(_CLUSTERS, 384)).astype(np.float32)
    mixing = shape.normal(size=(_LATENT, 384)).astype(np.float32)
    share = 1 / np.arange(1, _CLUSTERS + 1) ** 0.5
    share /= share.sum()

    def block(seed: int, count: int) -> np.ndarray:
        random = np.random.default_rng([_SEED, seed])
        latent = random.normal(size=(count, _LATENT)).astype(np.float32)
        noise = random.normal(size=(count, 384)).astype(np.float32)
        middle = centres[random.choice(_CLUSTERS, count, p=share)]
        points = middle + 0.3 * latent @ mixing + 0.5 * noise
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    base = np.empty((rows, 384), np.float32)
    for number, start in enumerate(range(0, rows, _BLOCK)):
        part = base[start : start + _BLOCK]
        part[:] = block(2 + number, _BLOCK)[: len(part)]
    return base, block(1, TUNE + ASKED)


def _tenth(base: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(Q,) float64 squared distance of the 10th nearest, compared again exactly among the nearest 20."""
    near = np.full((len(queries), 2 * K), -1)
    best = np.full((len(queries), 2 * K), np.inf, np.float32)
    for start, block in _blocks(base):
        lengths = (block**2).sum(axis=1)
        for first in range(0, len(queries), 1000):
            rows = slice(first, first + 1000)
            distance = lengths - 2 * (
                queries[rows] @ block.T
            )  # without |q|^2, which moves no order
            found = np.argpartition(distance, 2 * K, axis=1)[:, : 2 * K]
            both = np.hstack([best[rows], np.take_along_axis(distance, found, axis=1)])
            ids = np.hstack([near[rows], start + found])
            kept = np.argpartition(both, 2 * K, axis=1)[:, : 2 * K]
            best[rows] = np.take_along_axis(both, kept, axis=1)
            near[rows] = np.take_along_axis(ids, kept, axis=1)
    exact = [
        ((base[ids] - q.astype(np.float64)) ** 2).sum(1)
        for ids, q in zip(near, queries, strict=True)
    ]
    return np.sort(np.array(exact), axis=1)[:, K - 1]


def _blocks(base: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(base), _BLOCK):
        yield start, base[start : start + _BLOCK]
