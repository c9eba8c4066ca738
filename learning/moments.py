"""Count, mean and scatter of rows in one pass, merged exactly as Chan, Golub and LeVeque (1983).

N rows, D columns. Sums run in float64 around the running mean, so that large offsets cost no digits.
"""

import torch
from torch import Tensor

from learning.reduce import State


def empty(dim: int, *, full: bool = False) -> State:
    """No rows. full: keep the (D, D) scatter instead of its diagonal."""
    shape = (dim, dim) if full else (dim,)
    return {
        "count": torch.zeros((), dtype=torch.float64),
        "mean": torch.zeros(dim, dtype=torch.float64),
        "scatter": torch.zeros(shape, dtype=torch.float64),
    }


def of_rows(rows: Tensor, *, full: bool = False) -> State:
    """The state of (N, D) rows alone; N may be 0."""
    rows = rows.detach().to("cpu", torch.float64)
    if not len(rows):
        return empty(rows.shape[1], full=full)
    mean = rows.mean(dim=0)
    centred = rows - mean
    scatter = centred.T @ centred if full else centred.square().sum(dim=0)
    return {"count": torch.tensor(len(rows), dtype=torch.float64), "mean": mean, "scatter": scatter}


def of_known_rows(rows: Tensor) -> State:
    """The same of (N, D) rows that may hold NaN for unknown: a count of its own for every column."""
    rows = rows.detach().to("cpu", torch.float64)
    known = ~rows.isnan()
    count = known.sum(dim=0).double()
    mean = torch.where(known, rows, 0).sum(dim=0) / count.clamp_min(1)
    centred = torch.where(known, rows - mean, 0)
    return {"count": count, "mean": mean, "scatter": centred.square().sum(dim=0)}


def merge(one: State, other: State) -> State:
    """The state of the rows of both."""
    count = one["count"] + other["count"]
    delta = other["mean"] - one["mean"]
    share = other["count"] / count.clamp_min(1)
    spread = torch.outer(delta, delta) if one["scatter"].dim() == 2 else delta.square()
    return {
        "count": count,
        "mean": one["mean"] + delta * share,
        "scatter": one["scatter"] + other["scatter"] + spread * one["count"] * share,
    }
