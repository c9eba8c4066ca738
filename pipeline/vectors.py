"""Stored vector columns as the tensors a fusion takes: one vector per record, or a sequence of them."""

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline import schemas


def rows_of(
    column: pa.ChunkedArray | pa.Array, *, sequences: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A vector column -> (N, D) float32 and (N,) bool: where there is one.

    With `sequences` a column of them gives (N,) objects instead, (T, D) each; otherwise their means.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not sequences or pa.types.is_fixed_size_list(array.type):
        return schemas.matrix_of(array)
    lengths = np.asarray(array.value_lengths().fill_null(0))
    steps, _ = schemas.matrix_of(array.flatten())
    found = np.empty(len(array), object)
    found[:] = np.split(steps, np.cumsum(lengths)[:-1]) if len(array) else []
    return found, lengths > 0


def tensors(rows: np.ndarray, valid: np.ndarray) -> tuple[Tensor, Tensor]:
    """What `rows_of` gave -> (B, D) and (B,); sequences -> (B, T, D) and (B, T), padded to the longest."""
    if rows.dtype != object:
        return torch.tensor(rows), torch.tensor(valid)
    length = max((len(steps) for steps in rows), default=1)
    values = torch.zeros(len(rows), max(length, 1), rows[0].shape[1] if len(rows) else 0)
    present = torch.zeros(values.shape[:2], dtype=torch.bool)
    for i in np.flatnonzero(valid):
        values[i, : len(rows[i])] = torch.tensor(rows[i])
        present[i, : len(rows[i])] = True
    return values, present


def joined(one: Tensor, other: Tensor) -> Tensor:
    """The rows of both; sequences, or their masks, are padded with zeros to the longer ones."""
    if one.shape[1:2] == other.shape[1:2]:
        return torch.cat([one, other])
    length = max(one.shape[1], other.shape[1])
    return torch.cat([_padded(one, length), _padded(other, length)])


def _padded(values: Tensor, length: int) -> Tensor:
    longer = values.new_zeros((values.shape[0], length, *values.shape[2:]))
    longer[:, : values.shape[1]] = values
    return longer
