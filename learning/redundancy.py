"""Agreement without negatives: two views alike coordinate by coordinate, no two coordinates alike.

n rows that both views have, D dimensions. Fewer than two rows give zero.
"""

import torch
from torch import Tensor


def barlow_twins(x: Tensor, y: Tensor, weight: float) -> Tensor:
    """1/D [sum_i (1 - C_ii)^2 + weight sum_{i != j} C_ij^2], C the cross-correlation of (n, D) views.

    Zbontar et al., ICML 2021, there without the 1/D, which keeps the loss independent of the length.
    """
    if len(x) < 2:
        return (x.sum() + y.sum()) * 0
    correlation = _standardised(x).T @ _standardised(y) / len(x)  # (D, D)
    own = correlation.diagonal()
    others = correlation.square().sum() - own.square().sum()
    return ((1 - own).square().sum() + weight * others) / x.shape[1]


def vicreg(
    x: Tensor, y: Tensor, *, invariance: float, variance: float, covariance: float
) -> Tensor:
    """invariance * mean |x - y|^2 + variance * (V(x) + V(y)) + covariance * (C(x) + C(y)).

    V: mean_j max(0, 1 - deviation_j); C: 1/D sum of the squared off-diagonal covariances.
    Bardes, Ponce and LeCun, ICLR 2022.
    """
    if len(x) < 2:
        return (x.sum() + y.sum()) * 0
    total = invariance * (x - y).square().mean()
    for view in (x, y):
        centred = view - view.mean(dim=0)
        matrix = centred.T @ centred / (len(view) - 1)
        own = matrix.diagonal()
        total = total + variance * (1 - (own + 1e-4).sqrt()).relu().mean()
        total = total + covariance * (matrix.square().sum() - own.square().sum()) / len(own)
    return total


def _standardised(view: Tensor) -> Tensor:
    centred = view - view.mean(dim=0)
    return centred / torch.sqrt(centred.square().mean(dim=0) + 1e-6)
