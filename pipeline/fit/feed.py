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
from pipeline import schemas
from pipeline.errors import PolyfuseError
from pipeline.fit.data import Data, ShardParts

WINDOW = 64_000_000  # bytes of vectors that are shuffled together


@dataclass(frozen=True)
class _Block:
    """Some rows in memory."""

    matrices: dict[str, np.ndarray]  # (N, D)
    present: dict[str, np.ndarray]  # (N,)
    labels: torch.Tensor | None

    def rows(self, start: int, stop: int) -> Batch:
        where = slice(start, stop)
        return Batch(
            {name: torch.tensor(matrix[where]) for name, matrix in self.matrices.items()},
            {name: torch.tensor(mask[where]) for name, mask in self.present.items()},
            None if self.labels is None else self.labels[where],
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

    def validation(self, rows: int) -> Iterator[Batch]:
        """This worker's share of the validation part, in order."""
        total, world = self.rows["valid"], parallel.world()
        start, stop = (total * (parallel.rank() + i) // world for i in (0, 1))
        every = list(range(len(self.data.shards)))
        return _batches(self._stretch("valid", every, start, stop), max(rows // world, 1))

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
        matrices: dict[str, np.ndarray] = {}
        present: dict[str, np.ndarray] = {}
        labels: torch.Tensor | None = None
        first = 0
        for shard in window:
            count = int(self._counts[part][shard])
            taken = np.flatnonzero((positions >= first) & (positions < first + count))
            if len(taken):
                rows = self._rows(part, shard)[positions[taken] - first]
                block = self._shard(shard)
                for name, matrix in block.matrices.items():
                    if name not in matrices:
                        matrices[name] = np.empty((len(positions), matrix.shape[1]), np.float32)
                        present[name] = np.empty(len(positions), bool)
                    matrices[name][taken] = matrix[rows]
                    present[name][taken] = block.present[name][rows]
                if block.labels is not None:
                    if labels is None:
                        shape = (len(positions), *block.labels.shape[1:])
                        labels = torch.empty(shape, dtype=block.labels.dtype)
                    labels[torch.from_numpy(taken)] = block.labels[torch.from_numpy(rows)]
            first += count
        return _Block(matrices, present, labels)

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
        matrices, present = {}, {}
        for name, part in shard.inputs.items():
            column = self.data.read(part, ["vector"])["vector"]
            matrices[name], present[name] = schemas.matrix_of(column)
        labels = None
        if self.data.labels is not None:
            column = self.data.read(shard.split, ["label"])["label"]
            labels = self.data.labels.encode(column.combine_chunks())
        return _Block(matrices, present, labels)


def _batches(blocks: Iterator[_Block], size: int) -> Iterator[Batch]:
    """Batches of `size` rows across the borders of blocks; the last holds what is left."""
    left: Batch | None = None
    for block in blocks:
        start = 0
        if left is not None:
            start = min(size - len(left), len(block))
            left = _join(left, block.rows(0, start))
            if len(left) < size:
                continue
            yield left
            left = None
        for begin in range(start, len(block), size):
            batch = block.rows(begin, min(begin + size, len(block)))
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
        {name: torch.cat([x, other.features[name]]) for name, x in one.features.items()},
        {name: torch.cat([x, other.present[name]]) for name, x in one.present.items()},
        targets,
    )
