"""How good predictions are, each number with its 95 % confidence interval.

Every statistic is a function of how often each row counts, (N, R) -> (R,): once each for the value,
as drawn for R bootstrap samples at a time for the interval (Efron and Tibshirani, 1993, percentiles).
Proportions of rows take Wilson's interval instead, which stays honest at 0 and 1.
N rows, K classes or outputs, R samples. Definitions are scikit-learn's.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Statistic = Callable[[Tensor], Tensor]

BINS = 15  # of confidence, as in Guo et al. 2017
_Z = 1.959963984540054  # of a two-sided interval of 95 %
_CELLS = 4_000_000  # counts held at a time
_TINY = 1e-12


@dataclass(frozen=True)
class Measured:
    """A number and the interval it would fall in for 95 % of test parts like this one."""

    value: float
    low: float
    high: float


def classification(
    probabilities: Tensor, targets: Tensor, *, draws: int = 1000, seed: int = 0
) -> dict[str, Measured]:
    """Of the likeliest class: accuracy, balanced accuracy, macro F1; of the probabilities: the rest.

    top-5 accuracy from 6 classes on; log loss in nats; calibration error: the mean gap between
    confidence and accuracy over 15 bins. probabilities: (N, K); targets: (N,) class numbers.

    Raises:
        ValueError: there are no rows.
    """
    _some(targets)
    classes = probabilities.shape[1]
    probabilities, targets = probabilities.double(), targets.long()
    confidence, found = probabilities.max(dim=1)
    correct = (found == targets).double()
    given = probabilities.gather(1, targets[:, None])[:, 0]
    measured = {"accuracy": _proportion(correct)}
    if classes > 5:
        best = probabilities.topk(5, dim=1).indices
        measured["top-5 accuracy"] = _proportion((best == targets[:, None]).any(dim=1).double())

    def counted(rows: Tensor, counts: Tensor) -> Tensor:
        return _by_group(counts, rows, classes)

    def balanced(counts: Tensor) -> Tensor:
        support, hits = counted(targets, counts), counted(targets, counts * correct[:, None])
        return _mean_where(hits / support.clamp_min(1), support > 0)

    def f1(counts: Tensor) -> Tensor:
        hits = counted(targets, counts * correct[:, None])
        total = counted(targets, counts) + counted(found, counts)
        return _mean_where(2 * hits / total.clamp_min(1), total > 0)

    bins = _bins(confidence)

    def error(counts: Tensor) -> Tensor:
        gaps = _by_group(counts * (confidence - correct)[:, None], bins, BINS)
        return gaps.abs().sum(dim=0) / counts.sum(dim=0)

    statistics = {
        "balanced accuracy": balanced,
        "macro F1": f1,
        "log loss": _mean(-given.clamp_min(_TINY).log()),
        "calibration error": error,
    }
    return measured | _intervals(statistics, len(targets), draws, seed)


def regression(
    values: Tensor, targets: Tensor, *, draws: int = 1000, seed: int = 0
) -> dict[str, Measured]:
    """R2 (mean over outputs), mean absolute error and root mean squared error (over all numbers).

    values: (N, K); targets: (N, K), NaN where unknown. An output that never varies has R2 0.

    Raises:
        ValueError: nothing is known.
    """
    known = ~targets.isnan()
    _some(targets[known])
    wanted = torch.where(known, targets, 0).double()
    error = torch.where(known, values.double() - wanted, 0)
    there = known.double()
    middle = wanted.sum(dim=0) / there.sum(dim=0).clamp_min(1)
    wanted = torch.where(known, wanted - middle, 0)  # else squares of a large mean cost all digits

    def r2(counts: Tensor) -> Tensor:
        total = there.T @ counts  # (K, R)
        rest = error.square().T @ counts
        mean = wanted.T @ counts / total.clamp_min(1)
        spread = wanted.square().T @ counts - total * mean.square()
        varies = spread > _TINY * total * mean.square()
        return _mean_where(torch.where(varies, 1 - rest / spread, 0), total > 0)

    def per_number(rows: Tensor) -> Statistic:
        return lambda counts: (rows @ counts) / (there.sum(dim=1) @ counts).clamp_min(1)

    squared = per_number(error.square().sum(dim=1))
    statistics: dict[str, Statistic] = {
        "R2": r2,
        "MAE": per_number(error.abs().sum(dim=1)),
        "RMSE": lambda counts: squared(counts).sqrt(),
    }
    return _intervals(statistics, len(targets), draws, seed)


def multilabel(
    probabilities: Tensor, targets: Tensor, *, draws: int = 1000, seed: int = 0
) -> dict[str, Measured]:
    """micro and macro F1 of the labels given from 0.5 on; average precision, the mean over labels.

    probabilities: (N, K); targets: (N, K) 0 or 1, NaN where unknown, which counts nowhere. Labels
    that no row has are left out of the average precision.

    Raises:
        ValueError: nothing is known.
    """
    known = ~targets.isnan()
    _some(targets[known])
    wanted = torch.where(known, targets, 0).double()
    given = torch.where(known, probabilities >= 0.5, False).double()
    hits, total = wanted * given, wanted + given

    def micro(counts: Tensor) -> Tensor:
        return 2 * (hits.sum(dim=1) @ counts) / (total.sum(dim=1) @ counts).clamp_min(1)

    def macro(counts: Tensor) -> Tensor:
        return (2 * (hits.T @ counts) / (total.T @ counts).clamp_min(1)).mean(dim=0)

    def precision(counts: Tensor) -> Tensor:
        each = [
            _average_precision(probabilities[rows, k], wanted[rows, k], counts[rows])
            for k, rows in enumerate(known.T)
        ]
        having = torch.stack([wanted[:, k] @ counts for k in range(wanted.shape[1])])
        return _mean_where(torch.stack(each), having > 0)

    statistics: dict[str, Statistic] = {
        "micro F1": micro,
        "macro F1": macro,
        "average precision": precision,
    }
    return _intervals(statistics, len(targets), draws, seed)


@dataclass(frozen=True)
class Bin:
    """Predictions of similar confidence: how sure they were on average, and how often right."""

    confidence: float
    accuracy: float
    rows: int


def reliability(confidence: Tensor, correct: Tensor) -> list[Bin]:
    """The bins of equal width that hold predictions, from unsure to sure. (N,) and (N,) bool."""
    ones = torch.ones(len(confidence), 1, dtype=torch.float64)
    group = _bins(confidence)
    rows, sure, right = (
        _by_group(ones * x[:, None], group, BINS)[:, 0]
        for x in (ones[:, 0], confidence.double(), correct.double())
    )
    return [
        Bin(float(sure[i] / rows[i]), float(right[i] / rows[i]), int(rows[i]))
        for i in range(BINS)
        if rows[i]
    ]


def wilson(successes: float, rows: int) -> Measured:
    """A proportion with the interval of E. B. Wilson, 1927."""
    p, spread = successes / rows, _Z * _Z / rows
    centre = (p + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(p * (1 - p) / rows + spread / (4 * rows)) / (1 + spread)
    return Measured(p, max(0.0, centre - half), min(1.0, centre + half))


def _intervals(
    statistics: Mapping[str, Statistic], rows: int, draws: int, seed: int
) -> dict[str, Measured]:
    """Values and percentiles; all statistics see the same samples."""
    generator = torch.Generator().manual_seed(seed)
    once = torch.ones(rows, 1, dtype=torch.float64)
    drawn: dict[str, list[Tensor]] = {name: [] for name in statistics}
    step = max(1, _CELLS // rows)
    for start in range(0, draws, step):
        counts = _samples(rows, min(step, draws - start), generator)
        for name, statistic in statistics.items():
            drawn[name].append(statistic(counts))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    measured = {}
    for name, statistic in statistics.items():
        low, high = torch.cat(drawn[name]).quantile(ends).tolist()
        measured[name] = Measured(float(statistic(once)), low, high)
    return measured


def _samples(rows: int, draws: int, generator: torch.Generator) -> Tensor:
    """How often each row is in each sample of `rows` rows. (N, R)"""
    chosen = torch.randint(rows, (rows, draws), generator=generator)
    counts = torch.zeros(rows, draws, dtype=torch.float64)
    return counts.scatter_add_(0, chosen, torch.ones_like(chosen, dtype=torch.float64))


def _by_group(counts: Tensor, group: Tensor, groups: int) -> Tensor:
    """Sums over the rows of each group: (N, R) and (N,) -> (groups, R)."""
    return counts.new_zeros(groups, counts.shape[1]).index_add_(0, group, counts)


def _mean_where(values: Tensor, there: Tensor) -> Tensor:
    """The mean over the first dimension of those that are there. (K, R) -> (R,)"""
    return torch.where(there, values, 0).sum(dim=0) / there.sum(dim=0).clamp_min(1)


def _mean(rows: Tensor) -> Statistic:
    return lambda counts: (rows @ counts) / counts.sum(dim=0)


def _bins(confidence: Tensor) -> Tensor:
    """Bins of equal width, each with its upper end."""
    return ((confidence.double() * BINS).ceil().long() - 1).clamp(0, BINS - 1)


def _proportion(correct: Tensor) -> Measured:
    return wilson(float(correct.sum()), len(correct))


def _average_precision(scores: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """sum over thresholds of the recall gained there times the precision. (N,), (N,), (N, R) -> (R,)"""
    order = scores.argsort(descending=True, stable=True)
    ranked = scores[order]
    # Rows of one score are taken in together: only the last of each stands for a threshold.
    last = torch.ones(len(ranked), dtype=torch.bool)
    last[:-1] = ranked[1:] != ranked[:-1]
    drawn = counts[order]
    taken = drawn.cumsum(dim=0)[last]
    hits = (drawn * wanted[order, None]).cumsum(dim=0)[last]
    gained = hits.diff(dim=0, prepend=hits.new_zeros(1, hits.shape[1]))
    total = hits[-1] if len(hits) else hits.new_zeros(hits.shape[1])
    return (gained * hits / taken.clamp_min(1)).sum(dim=0) / total.clamp_min(1)


def _some(targets: Tensor) -> None:
    if not targets.numel():
        raise ValueError("expected at least one labelled row to measure on, got none")
