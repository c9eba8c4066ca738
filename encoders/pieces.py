"""Items cut into pieces (chunks of a text, windows of a sound): many model rows, one vector each.

Pieces of all items share model batches; each item's vector is the mean of its pieces, weighted by
how much of the item each one covers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from encoders import batching, pooling


@dataclass(frozen=True)
class Piece:
    """values: what the model reads, (length, ...); weight: how much of the item this is (> 0)."""

    values: np.ndarray
    weight: float


Pieces = tuple[Piece, ...]  # one prepared item


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
    run: Callable[[list[Piece], int, int], torch.Tensor],
    *,
    budget: int,
    padded: Callable[[int], int] = int,
) -> torch.Tensor:
    """-> (B, dim) float32 means, zero for None.

    `run(pieces, rows, length)` gives one (rows, dim) model batch: its first rows are the pieces,
    padded to `length`, the others may hold anything. budget: that of `batching.token_batches`;
    padded: length of a piece -> length that it is computed in.
    """
    pieces, owner, weight = owners(batch)
    vectors = torch.zeros(len(pieces), dim)
    lengths = [padded(len(piece.values)) for piece in pieces]
    plan = batching.token_batches(lengths, budget, items=len(batch))
    computed = []  # on a GPU all of them are on their way before the first is waited for
    for part in plan:
        members = [pieces[place] for place in part.members]
        computed.append(run(members, part.rows, part.length)[: len(members)])
    for part, output in zip(plan, computed, strict=True):
        vectors[list(part.members)] = output.cpu()
    return pooling.average(vectors, owner, weight, len(batch))
