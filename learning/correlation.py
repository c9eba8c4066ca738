"""How much of one view can be told from another linearly: the losses of deep (generalised) CCA.

n rows, D dimensions. Factors and inverses are in float64: they are small, and not forgiving.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, cholesky_solve
from torch.linalg import cholesky, eigvalsh, solve_triangular


def squared_correlations(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """The sum of the squared canonical correlations of (n, D) and (n, E): tr(S11^-1 S12 S22^-1 S21).

    One covariance of both and two Cholesky solves: the eigenvectors of the usual form
    (Andrew et al., ICML 2013) and the 1/(l_i - l_j) of their gradient are never needed. S11 and S22
    get `ridge` times their mean variance on the diagonal, so that fewer rows than dimensions, or
    views that have collapsed, still give a number. Fewer than two rows give zero.
    """
    if len(x) < 2:
        return (x.sum() + y.sum()) * 0
    warn_if_few(len(x), max(x.shape[1], y.shape[1]))
    rows = torch.cat([x, y], dim=1)
    rows = rows - rows.mean(dim=0)
    covariance = (rows.T @ rows / (len(rows) - 1)).double()
    d = x.shape[1]
    own, other = ridged(covariance[:d, :d], ridge), ridged(covariance[d:, d:], ridge)
    shared = covariance[:d, d:]
    with torch.no_grad():
        best = cholesky_solve(shared, cholesky(own))
        best = cholesky_solve(best.T, cholesky(other)).T  # S11^-1 S12 S22^-1
    # The trace is the largest value of this in `best`: there its derivative in `best` is zero, so the
    # gradient needs no pass back through the factors.
    return (2 * (best * shared).sum() - (best * (own @ best @ other)).sum()).to(x.dtype)


def shared_variance(views: Sequence[Tensor], present: Sequence[Tensor], ridge: float) -> Tensor:
    """How well one shared (n, D) representation can be told from every view: 1 perfectly, mean over D.

    The MAXVAR generalised CCA with missing views: the D largest eigenvalues of
    K^-1/2 (sum_m K_m P_m K_m) K^-1/2, P_m the projection onto view m, K_m its presence, K their sum
    (van de Velden and Takane, 2012; deep: Benton et al., 2017). They are those of a matrix of the
    size of all views together, not of the batch; only eigenvalues are needed, whose gradient is
    smooth. A row with fewer than two views says nothing about agreement and is left out.

    Args:
        views: (n, D) each; absent rows may hold anything finite.
        present: (n,) bool each.
        ridge: as in `squared_correlations`.
    """
    there = torch.stack(list(present), dim=1)  # (n, M)
    counts = there.sum(dim=1)
    used = counts >= 2
    dim = views[0].shape[1]
    factors = []
    for view, mask in zip(views, there.T, strict=True):
        rows, own = view[used].double(), mask[used, None]
        number = int(own.sum())
        if number < 2:
            continue
        warn_if_few(number, dim)
        rows = torch.where(own, rows, 0)
        rows = torch.where(own, rows - rows.sum(dim=0) / number, 0)
        scatter = ridged(rows.T @ rows, ridge)
        whitened = solve_triangular(cholesky(scatter), rows.T, upper=False)  # (D, n)
        factors.append(whitened / counts[used].double().sqrt())
    if not factors:
        return torch.stack([view.sum() for view in views]).sum() * 0
    stacked = torch.cat(factors)  # (M D, n)
    return eigvalsh(stacked @ stacked.T)[-dim:].mean().to(views[0].dtype)


def ridged(covariance: Tensor, ridge: float) -> Tensor:
    """The matrix plus `ridge` times its mean diagonal, so that the scale of the data does not matter."""
    tiny = torch.finfo(covariance.dtype).tiny ** 0.5  # a view of zeros has a factor, too
    level = covariance.diagonal().mean() * ridge + tiny
    return covariance + level * torch.eye(len(covariance), dtype=covariance.dtype).to(covariance)


def warn_if_few(rows: int, dim: int) -> None:
    """Say that the correlations of so few rows mean nothing."""
    if rows <= dim:
        warnings.warn(
            f"{rows} records in a batch for {dim} dimensions: only the ridge keeps their "
            "correlations below 1; take a larger batch or a smaller dim",
            RuntimeWarning,
            stacklevel=3,
        )
