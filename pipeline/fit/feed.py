"""Batches streamed from the parts of a run (`learning.loop.Feed`); memory does not grow with the data.

An epoch is one sequence of all training rows: the shards in an order of their own, the rows shuffled
inside windows of neighbouring shards. Each of W workers takes an equal contiguous stretch of it, so
that all have the same number of batches and read about 1/W of the bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fusion.batch import Batch
from learning import parallel
from pipeline.errors import PolyfuseError
from pipeline.fit.data import Data, ShardParts
from pipeline.vectors import joined, rows_of, tensors

WINDOW = 64_000_000  # bytes of vectors that are shuffled together


@dataclass(frozen=True)
class _Block:
    """Some rows in memory, as `pipeline.vectors.rows_of` gives them."""

    vectors: dict[str, np.ndarray]  # (N, D), or (N,) sequences
    present: dict[str, np.ndarray]  # (N,)
    labels: torch.Tensor | None

    @classmethod
    def like(cls, other: "_Block", count: int) -> "_Block":
        """Room for so many rows of the same kind."""
        vectors = {n: np.empty((count, *x.shape[1:]), x.dtype) for n, x in other.vectors.items()}
        labels = None
        if other.labels is not None:
            labels = other.labels.new_empty((count, *other.labels.shape[1:]))
        return cls(vectors, {n: np.empty(count, bool) for n in vectors}, labels)

    def put(self, where: np.ndarray, other: "_Block", rows: np.ndarray) -> None:
        """These rows of another block in these places."""
        for name in self.vectors:
            self.vectors[name][where] = other.vectors[name][rows]
            self.present[name][where] = other.present[name][rows]
        if self.labels is not None and other.labels is not None:
            self.labels[torch.from_numpy(where)] = other.labels[torch.from_numpy(rows)]

    def batch(self, start: int, stop: int) -> Batch:
        """Rows start:stop."""
        rows = slice(start, stop)
        found = {n: tensors(x[rows], self.present[n][rows]) for n, x in self.vectors.items()}
        return Batch(
            {name: values for name, (values, _) in found.items()},
            {name: present for name, (_, present) in found.items()},
            None if self.labels is None else self.labels[rows],
        )

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))


class StoredFeed:
    """The usable rows of a run, as one worker of several sees them.

    Args:
        window: bytes of stored vectors read together.

    Raises:
        PolyfuseError: there is nothing to train on.
    """

    def __init__(self, data: Data, *, seed: int = 0, window: int = WINDOW) -> None:
        self.data = data
        self.seed = seed
        self.window = window
        masks = [data.usable(shard) for shard in data.shards]
        # A bit per record: the only thing in memory that grows with the data.
        self._bits = [{part: np.packbits(mask) for part, mask in own.items()} for own in masks]
        self._counts = {
            part: np.array([int(own[part].sum()) for own in masks]) for part in masks[0]
        }
        self._kept: dict[int, _Block] = {}
        self._keep = sum(shard.bytes for shard in data.shards) <= window
        if self.rows["train"] < parallel.world():
            raise PolyfuseError(
                f"{self.rows['train']} records to train on for {parallel.world()} workers: expected "
                f"records of the training part with {' or '.join(data.features)}"
                f"{' and a label' if data.labels else ''}; "
                "look at split, label and at `polyfuse status`"
            )

    @property
    def rows(self) -> dict[str, int]:
        """{part of the split: usable rows}, of all workers."""
        return {part: int(counts.sum()) for part, counts in self._counts.items()}

    def training(self, epoch: int, rows: int, skip: int = 0) -> Iterator[Batch]:
        """This worker's batches of an epoch, without the first `skip`, which cost nothing.

        Whole batches only; one smaller batch if there is no more.
        """
        share = self.rows["train"] // parallel.world()
        size = min(max(rows // parallel.world(), 1), share)
        start, stop = (
            parallel.rank() * share + skip * size,
            parallel.rank() * share + share // size * size,
        )
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.data.shards))
        blocks = self._stretch("train", list(order), start, stop, epoch)
        return _batches(blocks, size)

    def once(self, rows: int) -> Iterator[Batch]:
        """This worker's share of the training part, in order, the last rows too."""
        return self._share("train", rows)

    def validation(self, rows: int) -> Iterator[Batch]:
        """This worker's share of the validation part, in order."""
        return self._share("valid", rows)

    def _share(self, part: str, rows: int) -> Iterator[Batch]:
        total, world = self.rows[part], parallel.world()
        start, stop = (total * (parallel.rank() + i) // world for i in (0, 1))
        every = list(range(len(self.data.shards)))
        return _batches(self._stretch(part, every, start, stop), max(rows // world, 1))

    def test(self, rows: int) -> Iterator[Batch]:
        """The whole test part, in order: for nothing but the last measurement."""
        every = list(range(len(self.data.shards)))
        return _batches(self._stretch("test", every, 0, self.rows["test"]), rows)

    def _stretch(
        self, part: str, order: Sequence[int], start: int, stop: int, epoch: int | None = None
    ) -> Iterator[_Block]:
        """Rows start:stop of the sequence, window by window; shuffled inside each for an epoch."""
        first = 0
        for number, window in enumerate(self._windows(part, order)):
            count = int(self._counts[part][window].sum())
            low, high = max(start - first, 0), min(stop - first, count)
            first += count
            if low >= high:
                continue
            positions = np.arange(count)
            if epoch is not None:
                positions = np.random.default_rng([self.seed, epoch, number]).permutation(count)
            yield self._read(part, window, positions[low:high])

    def _windows(self, part: str, order: Sequence[int]) -> Iterator[list[int]]:
        """Neighbours in the order whose vectors fill a window; shards without such rows are left out."""
        window: list[int] = []
        filled = 0
        for shard in order:
            if not self._counts[part][shard]:
                continue
            size = self.data.shards[shard].bytes
            if window and filled + size > self.window:
                yield window
                window, filled = [], 0
            window.append(shard)
            filled += size
        if window:
            yield window

    def _read(self, part: str, window: Sequence[int], positions: np.ndarray) -> _Block:
        """The rows of a window that lie at these positions of it, in this order."""
        found: _Block | None = None
        first = 0
        for shard in window:
            count = int(self._counts[part][shard])
            taken = np.flatnonzero((positions >= first) & (positions < first + count))
            if len(taken):
                block = self._shard(shard)
                found = found or _Block.like(block, len(positions))
                found.put(taken, block, self._rows(part, shard)[positions[taken] - first])
            first += count
        assert found is not None, "a window without rows"
        return found

    def _rows(self, part: str, shard: int) -> np.ndarray:
        """The row numbers of a shard that are usable and in this part."""
        total = self.data.shards[shard].split.rows
        return np.flatnonzero(np.unpackbits(self._bits[shard][part], count=total))

    def _shard(self, number: int) -> _Block:
        """All of a shard; kept where everything fits in one window."""
        if number not in self._kept:
            block = self._load(self.data.shards[number])
            if not self._keep:
                return block
            self._kept[number] = block
        return self._kept[number]

    def _load(self, shard: ShardParts) -> _Block:
        vectors, present = {}, {}
        for name, part in shard.inputs.items():
            column = self.data.read(part, ["vector"])["vector"]
            vectors[name], present[name] = rows_of(column, sequences=self.data.sequences)
        labels = None
        if self.data.labels is not None:
            column = self.data.read(shard.split, ["label"])["label"]
            labels = self.data.labels.encode(column.combine_chunks())
        return _Block(vectors, present, labels)


def _batches(blocks: Iterator[_Block], size: int) -> Iterator[Batch]:
    """Batches of `size` rows across the borders of blocks; the last holds what is left."""
    left: Batch | None = None
    for block in blocks:
        start = 0
        if left is not None:
            start = min(size - len(left), len(block))
            left = _join(left, block.batch(0, start))
            if len(left) < size:
                continue
            yield left
            left = None
        for begin in range(start, len(block), size):
            batch = block.batch(begin, min(begin + size, len(block)))
            if len(batch) == size:
                yield batch
            else:
                left = batch
    if left is not None:
        yield left


def _join(one: Batch, other: Batch) -> Batch:
    targets = None
    if one.targets is not None and other.targets is not None:
        targets = torch.cat([one.targets, other.targets])
    return Batch(
        {name: joined(x, other.features[name]) for name, x in one.features.items()},
        {name: joined(x, other.present[name]) for name, x in one.present.items()},
        targets,
    )
