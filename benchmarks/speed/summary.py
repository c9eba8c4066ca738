"""From raw runs to the numbers of the page. Pure: no file is read, nothing is started."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NEIGHBOURS = 10


@dataclass(frozen=True)
class Spread:
    """A median and the range it comes from."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


def steady(events: Sequence[Mapping[str, float]]) -> float:
    """Items per second from when every worker has finished a batch to the end of the last one.

    events: {start, finish (seconds), items}. What was begun before anything was finished may hold the
    start-up of its worker, so time counts from the end of all of these; of a batch that is then under
    way the part counts that is left. Waiting for the last worker counts. Where nothing was begun later:
    all items over the whole time.
    """
    begin, end = _steady_part(events)
    return sum(event["items"] * _part_after(event, begin) for event in events) / (end - begin)


def share(
    phases: Sequence[Sequence[Mapping[str, Any]]], steps: Sequence[str], workers: int
) -> float:
    """Of all workers' time in the steady part, what went into these steps; 1 if all of it did.

    phases: the events, {start, finish, spent: {step: seconds}}, of each thing done in turn.
    """
    spent = time = 0.0
    for events in phases:
        begin, end = _steady_part(events)
        time += workers * (end - begin)
        for event in events:
            seconds = sum(event["spent"].get(step, 0.0) for step in steps)
            spent += seconds * _part_after(event, begin)
    return spent / time


def _steady_part(events: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    earliest = min(event["finish"] for event in events)
    begin = max(event["finish"] for event in events if event["start"] < earliest)
    end = max(event["finish"] for event in events)
    return (begin, end) if begin < end else (min(event["start"] for event in events), end)


def _part_after(event: Mapping[str, Any], time: float) -> float:
    length = max(event["finish"] - event["start"], 1e-9)
    return min(1.0, max(0.0, event["finish"] - time) / length)


def in_turn(rates: Sequence[float]) -> float:
    """Records per second where each is done in several steps, all of one before all of the next."""
    return 1 / sum(1 / rate for rate in rates)


def marginal(seconds: float, items: int, small_seconds: float, small_items: int) -> float | None:
    """Items per second from two runs of different size; None where the larger took no longer."""
    more = seconds - small_seconds
    return (items - small_items) / more if more > 0 else None


def accuracy(vectors: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Cosines of corresponding rows, and how many of the 10 nearest rows are the same.

    Args:
        vectors, reference: (N, D), N > 10.

    Returns:
        {least, p1, mean, recall}.
    """
    ours, theirs = _unit(vectors), _unit(reference)
    cosines = (ours * theirs).sum(1)
    found, wanted = _nearest(ours), _nearest(theirs)
    shared = [len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True)]
    return {
        "least": float(cosines.min()),
        "p1": float(np.quantile(cosines, 0.01)),
        "mean": float(cosines.mean()),
        "recall": float(np.mean(shared) / NEIGHBOURS),
    }


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-30)


def _nearest(unit: np.ndarray) -> np.ndarray:
    """(N, 10) rows that are nearest to each, itself left out."""
    products = unit @ unit.T
    np.fill_diagonal(products, -np.inf)
    return np.argpartition(-products, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def noted(row: Mapping[str, Any], what: str) -> Spread | None:
    """What one system's runs noted, as their rate; None where none of them did."""
    found = [run[what] for run in row["runs"] if what in run]
    return Spread.of(found) if found else None


def whole(runs: Sequence[Mapping[str, Any]]) -> Spread | None:
    """Records per second of whole runs; None of none."""
    return Spread.of([run["items"] / run["seconds"] for run in runs]) if runs else None
