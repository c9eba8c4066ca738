"""What is searched: vectors, the queries, and their true neighbours.

N vectors, Q queries, D dimensions. A set is a folder of base.npy (N, D), asked.npy (Q, D) and
asked_near.npy (Q,): the squared distance of the 10th neighbour. Vectors that are compared by their
cosine are stored at length 1, where both orders agree.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

K = 10
ASKED = 5000
_TRIALS = 1000  # queries left for trials by hand, which then do not favour what is measured
_BLOCK = 50_000
_CLUSTERS, _DIMENSIONS, _SEED = 1000, 384, 0

METRICS = {"mnist": "l2", "clustered": "cosine", "noisy": "cosine"}


@dataclass(frozen=True)
class _Shape:
    """Points around `centres` (C, D): normal along the rows of `directions` (L, D), and `noise` in all."""

    centres: np.ndarray
    directions: np.ndarray
    noise: float = 0.0


def write(name: str, folder: Path, data: Path, rows: int) -> None:
    """Make a set, unless it is there. rows: of one that is generated."""
    if (folder / "asked_near.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    base, queries = _mnist(data) if name == "mnist" else _generated(_SHAPES[name](), rows)
    np.save(folder / "base.npy", base)
    asked = queries[_TRIALS : _TRIALS + ASKED]
    np.save(folder / "asked.npy", asked)
    np.save(folder / "asked_near.npy", _tenth(base, asked))


def _mnist(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of the 60,000 training digits, and of the test digits."""

    def pixels(file: str) -> np.ndarray:
        raw = gzip.decompress((data / "mnist" / file).read_bytes())
        return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784).astype(np.float32)

    return pixels("train-images-idx3-ubyte.gz"), pixels("t10k-images-idx3-ubyte.gz")


def _clustered() -> _Shape:
    """As hard as embeddings are: deviations that fall as rank^-0.6, inside of clusters and between them.

    MiniLM's vectors of 20,584 captions fall as rank^-0.63. The local intrinsic dimension (maximum
    likelihood over 100 neighbours) is 20 at a million; that of the captions 14, of MNIST 15.
    """
    random = np.random.default_rng([_SEED, 0])
    turn = np.linalg.qr(random.normal(size=(_DIMENSIONS, _DIMENSIONS)))[0]
    axes = np.arange(1, _DIMENSIONS + 1)[:, None] ** -0.6 * turn
    centres = random.normal(size=(_CLUSTERS, _DIMENSIONS)) @ axes
    return _Shape(centres.astype(np.float32), (0.5 * axes).astype(np.float32))


def _noisy() -> _Shape:
    """Harder than embeddings: few directions of equal weight, and noise in all; its dimension is 30."""
    random = np.random.default_rng([_SEED, 0])
    centres = random.normal(size=(_CLUSTERS, _DIMENSIONS))
    directions = 0.3 * random.normal(size=(32, _DIMENSIONS))
    return _Shape(centres.astype(np.float32), directions.astype(np.float32), 0.5)


_SHAPES = {"clustered": _clustered, "noisy": _noisy}


def _generated(shape: _Shape, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in clusters of very different sizes; fewer rows are the first of more. Queries come
    from the same distribution."""
    share = 1 / np.arange(1, _CLUSTERS + 1) ** 0.5
    share /= share.sum()

    def block(seed: int, count: int) -> np.ndarray:
        random = np.random.default_rng([_SEED, seed])
        latent = random.normal(size=(count, len(shape.directions))).astype(np.float32)
        noise = random.normal(size=(count, _DIMENSIONS)).astype(np.float32)
        middle = shape.centres[random.choice(_CLUSTERS, count, p=share)]
        points = middle + latent @ shape.directions + shape.noise * noise
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    base = np.empty((rows, _DIMENSIONS), np.float32)
    for number, start in enumerate(range(0, rows, _BLOCK)):
        part = base[start : start + _BLOCK]
        part[:] = block(2 + number, _BLOCK)[: len(part)]
    return base, block(1, _TRIALS + ASKED)


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
