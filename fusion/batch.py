"""A batch of records as fusions and objectives take it, and a feed of batches that lie in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B records.

    features[name]: (B, D_name); present[name]: (B,) bool. targets: (B,) class numbers, -1 where a
    record has no label; (B, outputs) numbers, NaN where unknown; None without a label column.
    """

    features: dict[str, Tensor]
    present: dict[str, Tensor]
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))

    def to(self, device: torch.device | str) -> "Batch":
        """The same records on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, chosen: Tensor) -> "Batch":
        """The records of these numbers, or where a mask is True."""
        return self._map(lambda tensor: tensor[chosen])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(
            {name: change(tensor) for name, tensor in self.features.items()},
            {name: change(tensor) for name, tensor in self.present.items()},
            None if self.targets is None else change(self.targets),
        )


class MemoryFeed:
    """Training and validation records that fit into memory, shuffled anew each epoch (`learning.Feed`)."""

    def __init__(self, train: Batch, valid: Batch | None = None, *, seed: int = 0) -> None:
        if not len(train):
            raise ValueError("expected at least one training record, got none")
        self.train = train
        self.valid = valid
        self.seed = seed

    def training(self, epoch: int, rows: int, skip: int = 0) -> Iterator[Batch]:
        """Whole batches only, so that every step weighs the same; one smaller batch if there is no more."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train), generator=generator)
        for start in range(skip * rows, max(len(order) - rows, 0) + 1, rows):
            yield self.train.rows(order[start : start + rows])

    def once(self, rows: int) -> Iterator[Batch]:
        """Every training record, in order."""
        return _in_order(self.train, rows)

    def validation(self, rows: int) -> Iterator[Batch]:
        """In order, the last batch being what is left."""
        return _in_order(self.valid, rows) if self.valid is not None else iter(())


def _in_order(records: Batch, rows: int) -> Iterator[Batch]:
    for start in range(0, len(records), rows):
        yield records.rows(torch.arange(start, min(start + rows, len(records))))
