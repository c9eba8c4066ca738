"""Covariance of two sets of columns over the rows that have both, in one pass; merged exactly.

N rows, D and E columns. Sums run in float64 around the running means, as in `learning.moments`.
"""

import torch
from torch import Tensor

from learning.reduce import State


def empty(left: int, right: int) -> State:
    """No rows."""
    return {
        "count": torch.zeros((), dtype=torch.float64),
        "left": torch.zeros(left, dtype=torch.float64),
        "right": torch.zeros(right, dtype=torch.float64),
        "scatter": torch.zeros(left, right, dtype=torch.float64),
    }


def of_rows(left: Tensor, right: Tensor) -> State:
    """The state of (N, D) and (N, E) rows alone; N may be 0."""
    left, right = (side.detach().to("cpu", torch.float64) for side in (left, right))
    if not len(left):
        return empty(left.shape[1], right.shape[1])
    means = left.mean(dim=0), right.mean(dim=0)
    scatter = (left - means[0]).T @ (right - means[1])
    count = torch.tensor(len(left), dtype=torch.float64)
    return {"count": count, "left": means[0], "right": means[1], "scatter": scatter}


def merge(one: State, other: State) -> State:
    """The state of the rows of both."""
    count = one["count"] + other["count"]
    share = other["count"] / count.clamp_min(1)
    shift = {side: other[side] - one[side] for side in ("left", "right")}
    spread = torch.outer(shift["left"], shift["right"]) * one["count"] * share
    return {
        "count": count,
        "left": one["left"] + shift["left"] * share,
        "right": one["right"] + shift["right"] * share,
        "scatter": one["scatter"] + other["scatter"] + spread,
    }


def covariance(state: State) -> Tensor:
    """(D, E), of a population; zero of no rows."""
    return state["scatter"] / state["count"].clamp_min(1)
