"""Items cut into pieces (chunks of a text, windows of a sound): many model rows, one vector each.

Pieces of all items share model batches; each item's vector is the mean of its pieces, weighted by
how much of the item each one covers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from encoders import batching, pooling


@dataclass(frozen=True)
class Piece:
    """values: what the model reads, (length, ...); weight: how much of the item this is (> 0)."""

    values: np.ndarray
    weight: float


Pieces = tuple[Piece, ...]  # one prepared item
Part = TypeVar("Part", batching.TokenBatch, batching.PackedBatch)


def owners(batch: Sequence[Pieces | None]) -> tuple[list[Piece], torch.Tensor, torch.Tensor]:
    """The pieces of all items, (E,) which item each belongs to, and (E,) their weights."""
    held = [(piece, item) for item, pieces in enumerate(batch) for piece in pieces or ()]
    owner = torch.tensor([item for _, item in held], dtype=torch.long)
    weight = torch.tensor([piece.weight for piece, _ in held], dtype=torch.float32)
    return [piece for piece, _ in held], owner, weight


def tensors(
    batch: Sequence[Pieces],
    inputs: Callable[[list[Piece], int, int], dict[str, torch.Tensor]],
    device: str,
) -> dict[str, torch.Tensor]:
    """One model batch of all pieces, with what `Backbone` needs to give one vector per item.

    `inputs(pieces, rows, length)` gives the model's own inputs, padded to `length`.
    """
    pieces, owner, weight = owners(batch)
    length = max(len(piece.values) for piece in pieces)
    moved = {"owner": owner.to(device), "weight": weight.to(device)}
    return inputs(pieces, len(pieces), length) | moved


def encode(
    batch: Sequence[Pieces | None],
    dim: int,
    plan: Callable[[Sequence[int]], list[Part]],
    run: Callable[[list[Piece], Part], torch.Tensor],
) -> torch.Tensor:
    """-> (B, dim) float32 means, zero for None.

    `plan(lengths)` cuts the pieces of these lengths into model batches. `run(members, part)`
    computes one of them, (E, dim): its first rows are those of its members, the others may hold
    anything.
    """
    pieces, owner, weight = owners(batch)
    vectors = torch.zeros(len(pieces), dim)
    parts = plan([len(piece.values) for piece in pieces])
    computed = []  # on a GPU all of them are on their way before the first is waited for
    for part in parts:
        members = [pieces[place] for place in part.members]
        computed.append(run(members, part)[: len(members)])
    for part, output in zip(parts, computed, strict=True):
        vectors[list(part.members)] = output.cpu()
    return pooling.average(vectors, owner, weight, len(batch))
