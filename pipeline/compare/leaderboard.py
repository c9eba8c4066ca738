"""The leaderboard: what all trainings of a comparison say together, as rows, Parquet and JSON."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fusion.trial import Candidate, Score
from pipeline import files

SINGLE = "single"
REFERENCE = "reference"
FUSION = "fusion"


@dataclass(frozen=True)
class Entrant:
    """Something that is compared. kind: a single modality, a reference, or a fusion."""

    row: str
    kind: str
    candidate: Candidate
    parameters: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True)
class Training:
    """One finished training of one entrant; failure: why it has no score."""

    row: str
    learning_rate: float
    seed: int
    steps: int
    score: Score | None
    failure: str = ""


@dataclass(frozen=True)
class Pattern:
    """A metric over the seeds where only some features were shown."""

    mean: float | None
    spread: float | None


@dataclass(frozen=True)
class Row:
    """One line. mean, spread: of the metric on the test part over the seeds, at the learning rate
    that the validation part chose. below: the references with a higher mean. note: why there is no
    number, if there is none."""

    row: str
    kind: str
    operator: str
    inputs: tuple[str, ...]
    mean: float | None
    spread: float | None
    valid: float | None
    seeds: int
    learning_rate: float | None
    patterns: Mapping[str, Pattern]
    parameters: int
    milliseconds: float | None
    peak_bytes: int
    seconds: float
    below: tuple[str, ...] = ()
    best_single: bool = False
    note: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """All rows, best first, and how they came about.

    metric: what the numbers are, higher is better. about: the data and the recipe, for the reader.
    cuts: what the budget did not allow.
    """

    name: str
    metric: str
    rows: tuple[Row, ...]
    about: Mapping[str, Any]
    cuts: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """leaderboard.json and leaderboard.parquet."""
        files.publish(folder / "leaderboard.json", files.to_json(dataclasses.asdict(self)))
        with files.replacing(folder / "leaderboard.parquet") as temporary:
            pq.write_table(_table(self), temporary)


def settle(entrants: Sequence[Entrant], trainings: Sequence[Training]) -> tuple[Row, ...]:
    """One row per entrant, best first; those below the references are marked."""
    rows = [_row(e, [t for t in trainings if t.row == e.row]) for e in entrants]
    singles = [r for r in rows if r.kind == SINGLE and r.valid is not None]
    # Chosen by the validation part: the best of several on the test part would flatter itself.
    best = max(singles, key=lambda r: r.valid or 0.0, default=None)
    if best:
        chosen = dataclasses.replace(best, best_single=True)
        rows = [chosen if row.row == best.row else row for row in rows]
    bars = [r for r in rows if r.mean is not None and (r.kind == REFERENCE or r.best_single)]
    marked = [dataclasses.replace(row, below=_below(row, bars)) for row in rows]
    # Where two are equal, the simpler one first.
    return tuple(
        sorted(marked, key=lambda r: (r.mean is None, -(r.mean or 0.0), r.kind == FUSION, r.row))
    )


def best_rate(trainings: Sequence[Training]) -> float | None:
    """The learning rate whose first seed did best on the validation part; of equal ones the smallest."""
    scored = [(t, t.score) for t in trainings if t.score]
    first = min((t.seed for t, _ in scored), default=0)
    grid = [(score.valid, -t.learning_rate) for t, score in scored if t.seed == first]
    return -max(grid)[1] if grid else None


def _row(entrant: Entrant, own: Sequence[Training]) -> Row:
    rate = best_rate(own)
    scores = [t.score for t in own if t.learning_rate == rate and t.score]
    failures = [t.failure for t in own if t.failure]
    found = scores[0].patterns if scores else {}
    names = sorted(found, key=lambda name: (-name.count("+"), name))  # everything first
    shared: dict[str, Any] = {
        "row": entrant.row,
        "kind": entrant.kind,
        "operator": entrant.candidate.name,
        "inputs": entrant.candidate.inputs,
        "peak_bytes": entrant.peak_bytes,
        "seeds": len(scores),
        "learning_rate": rate,
        "seconds": sum(t.score.seconds for t in own if t.score),
    }
    return Row(
        **shared,
        mean=_mean([score.test for score in scores]),
        spread=_spread([score.test for score in scores]),
        valid=_mean([score.valid for score in scores]),
        patterns={name: _pattern([score.patterns[name] for score in scores]) for name in names},
        parameters=scores[0].parameters if scores else entrant.parameters,
        milliseconds=min((score.milliseconds for score in scores), default=None),
        note="" if scores else (failures[0] if failures else "not trained within the budget"),
    )


def _pattern(values: Sequence[float | None]) -> Pattern:
    known = [value for value in values if value is not None]
    return Pattern(_mean(known), _spread(known))


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _below(row: Row, bars: Sequence[Row]) -> tuple[str, ...]:
    if row.kind != FUSION or row.mean is None:
        return ()
    return tuple(bar.row for bar in bars if bar.mean is not None and row.mean < bar.mean)


def _table(board: Leaderboard) -> pa.Table:
    rows = []
    for row in board.rows:
        data = dataclasses.asdict(row)
        found = data.pop("patterns")
        data |= {f"pattern {name}": pattern["mean"] for name, pattern in found.items()}
        rows.append(data)
    # Every column that any row has: a row without a score has no patterns.
    columns = list(dict.fromkeys(key for row in rows for key in row))
    arrays = {key: [row.get(key) for row in rows] for key in columns}
    return pa.table(arrays).replace_schema_metadata({"format": str(files.FORMAT)})
