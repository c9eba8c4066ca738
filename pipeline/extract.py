"""One shard, one modality: rows in, one vector column per feature and the errors out.

Rows come prepared, one after another, and are encoded in windows. A window is counted
in present items, and a failed item keeps its place in it as an empty slot, so what a bad medium is
replaced by changes no bit of its neighbours.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice, tee
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from encoders.base import Encoder, Prepared
from encoders.media.errors import MediaError, Reason
from pipeline import expression, schemas
from pipeline.config import Feature, RunConfig
from pipeline.ledger import ABSENT, FAILED, FILTERED, VECTOR
from pipeline.prepare import Found, Lost
from pipeline.sources import Row, Source, row_metadata
from pipeline.stopwatch import Stopwatch

# Present items encoded together: enough to fill the model's batches, few enough to stay small.
_WINDOW = {"image": 128, "audio": 64, "video": 8}
_WINDOW_OTHER = 4096
_FILTER_CHUNK = 32

Prepare = Callable[[Iterable[Row]], Iterator[tuple[str, Mapping[str, Found]]]]


@dataclass
class Errors:
    """The error rows of one unit."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, record_id: str, feature: str, uri: str, lost: Lost) -> None:
        """One (record, feature) that has no vector, and why."""
        self.rows.append(
            {
                "record_id": record_id,
                "feature": feature,
                "uri": uri,
                "stage": lost.stage,
                "reason": str(lost.error.reason),
                "message": lost.error.message,
                "attempts": lost.attempts,
            }
        )

    def table(self) -> pa.Table:
        """As stored."""
        return pa.Table.from_pylist(self.rows, schemas.ERRORS)

    def reasons(self) -> dict[str, int]:
        """How many for each reason."""
        return dict(sorted(Counter(row["reason"] for row in self.rows).items()))


class Column:
    """The vectors of one feature for one shard, filled window by window."""

    def __init__(
        self, feature: Feature, encoder: Encoder, window: int, errors: Errors, watch: Stopwatch
    ) -> None:
        self.feature = feature
        self.encoder = encoder
        self.window = window
        self.errors = errors
        self.watch = watch
        self.ids: list[str] = []
        self.states: list[str] = []
        self.vectors: dict[int, np.ndarray] = {}
        # Row, uri, and what the encoder made of its items at once (a window of decoded pictures would
        # take gigabytes), or an empty slot: [None].
        self._pending: list[tuple[int, str, list[Prepared | None]]] = []

    def skip(self, record_id: str, state: str) -> None:
        """A row without an item: absent or filtered. It takes no slot."""
        self.ids.append(record_id)
        self.states.append(state)

    def keep(self, record_id: str, vector: np.ndarray) -> None:
        """A row whose vector is known from the revision before: an empty slot."""
        self.vectors[len(self.ids)] = vector
        self._take(record_id, VECTOR, "", [None])

    def add(self, record_id: str, uri: str, found: Found) -> None:
        """A row that was looked at: its item or the frames of a video; an error row and an empty slot;
        or nothing, where it has none."""
        if isinstance(found, Lost):
            self.errors.add(record_id, self.feature.name, uri, found)
            self._take(record_id, FAILED, uri, [None])
        elif found:
            self._take(record_id, VECTOR, uri, found)
        else:
            self.skip(record_id, ABSENT)

    def _take(self, record_id: str, state: str, uri: str, slot: list[Prepared | None]) -> None:
        self._pending.append((len(self.ids), uri, slot))
        self.ids.append(record_id)
        self.states.append(state)
        if len(self._pending) >= self.window:
            self.flush()

    def flush(self) -> None:
        """Encode what has gathered."""
        flat = [item for _, _, slot in self._pending for item in slot]
        if any(item is not None for item in flat):
            self.watch.to("encode")
            matrix, failed = encode_window(self.encoder, flat)
            start = 0
            for row, uri, slot in self._pending:
                rows = slice(start, start + len(slot))
                start += len(slot)
                if slot[0] is not None:
                    problems = [failed[i] for i in range(rows.start, rows.stop) if i in failed]
                    self._store(row, uri, matrix[rows], problems)
        self._pending.clear()

    def _store(self, row: int, uri: str, matrix: np.ndarray, problems: list[MediaError]) -> None:
        if problems:
            self._lose(row, uri, problems[0])
        elif not np.isfinite(matrix).all():
            self._lose(
                row,
                uri,
                MediaError(Reason.NON_FINITE, "the encoder gave a vector that is not finite"),
            )
        elif self.feature.pool == "sequence":
            self.vectors[row] = matrix
        else:
            self.vectors[row] = matrix.mean(axis=0, dtype=np.float64).astype(np.float32)

    def _lose(self, row: int, uri: str, error: MediaError) -> None:
        self.states[row] = FAILED
        self.errors.add(self.ids[row], self.feature.name, uri, Lost("encode", error))

    def table(self) -> pa.Table:
        """record_id and vector, as stored."""
        dim = self.encoder.dim
        schema = schemas.features(dim, self.feature.pool)
        if self.feature.pool == "sequence":
            column = schemas.sequences_array(
                [self.vectors.get(i) for i in range(len(self.ids))], dim
            )
        else:
            valid = np.zeros(len(self.ids), bool)
            matrix = np.zeros((len(self.ids), dim), np.float32)
            for row, vector in self.vectors.items():
                valid[row] = True
                matrix[row] = vector
            column = schemas.vectors_array(matrix, valid)
        return pa.table([pa.array(self.ids, pa.string()), column], schema=schema)


def encode_window(
    encoder: Encoder, items: list[Prepared | None]
) -> tuple[np.ndarray, dict[int, MediaError]]:
    """Encode a window. If the model refuses it, each half: so only the bad item is lost, and what is
    too much for the memory at once is done in parts."""
    try:
        return encoder.encode(items), {}
    except Exception as err:  # whatever a model raises, one item is at fault until proven otherwise
        error = _model_error(err)  # no more of it: its frames hold the memory that was too little
    if sum(item is not None for item in items) == 1:
        place = next(i for i, item in enumerate(items) if item is not None)
        return np.zeros((len(items), encoder.dim), np.float32), {place: error}
    half = len(items) // 2
    first, lost = encode_window(encoder, items[:half])
    second, also = encode_window(encoder, items[half:])
    lost |= {half + place: problem for place, problem in also.items()}
    return np.concatenate([first, second]), lost


def _model_error(err: Exception) -> MediaError:
    reason = Reason.OOM if _is_out_of_memory(err) else Reason.MODEL_ERROR
    return MediaError(reason, f"{type(err).__name__}: {' '.join(str(err).split())[:300]}")


def _is_out_of_memory(err: Exception) -> bool:
    return (
        isinstance(err, MemoryError)
        or "out of memory" in str(err).lower()
        or "can't allocate" in str(err)
    )


@dataclass
class Shelf:
    """What a revision before left: for each feature the state of every row, and its vectors."""

    states: Mapping[str, str]
    vectors: Mapping[str, list[np.ndarray | None]]


class _Step(Enum):
    """What is done with a row."""

    LEAVE = auto()  # the filter wants none of it
    COPY = auto()  # the revision before has all of it
    COMPUTE = auto()


def extract(
    rows: Iterable[Row],
    source: Source,
    config: RunConfig,
    modality: str,
    encoders: Mapping[str, Encoder],
    prepare: Prepare,
    watch: Stopwatch,
    before: Shelf | None = None,
) -> tuple[list[Column], Errors]:
    """Compute all features of one modality for the rows of one shard; `watch` learns what took how long.

    prepare: the rows that are to be computed -> for each its uri and what was found in it, in order.
    """
    kind = config.modalities[modality].kind
    errors = Errors()
    columns = []
    for feature in config.features(modality):
        encoder = encoders[feature.name]
        window = _WINDOW.get(kind, _WINDOW_OTHER) * getattr(encoder, "batch", 1)  # of a network
        columns.append(Column(feature, encoder, window, errors, watch))
    watch.to("read")
    steps, ahead = tee(_steps(rows, source, config, columns, before))
    found = prepare(row for row, step in ahead if step is _Step.COMPUTE)
    for row, step in steps:
        if step is _Step.COMPUTE:
            uri, items = next(found)
            for column in columns:
                column.add(row.record_id, uri, items[column.feature.name])
            watch.to("read")
        elif step is _Step.COPY and before:
            _copy(row.record_id, columns, before)
        else:
            for column in columns:
                column.skip(row.record_id, FILTERED)
    for column in columns:
        column.flush()
    order = {record_id: i for i, record_id in enumerate(columns[0].ids)}
    errors.rows.sort(key=lambda error: (order[error["record_id"]], error["feature"]))
    return columns, errors


def _steps(
    rows: Iterable[Row],
    source: Source,
    config: RunConfig,
    columns: Sequence[Column],
    before: Shelf | None,
) -> Iterator[tuple[Row, _Step]]:
    names = [column.feature.name for column in columns]
    for index, (row, wanted) in enumerate(filtered(rows, source, config)):
        if not wanted:
            yield row, _Step.LEAVE
        elif before and not any(before.states[name][index] == FAILED for name in names):
            yield row, _Step.COPY
        else:
            yield row, _Step.COMPUTE


def _copy(record_id: str, columns: Sequence[Column], before: Shelf) -> None:
    index = len(columns[0].ids)
    for column in columns:
        vector = before.vectors[column.feature.name][index]
        if vector is None:
            column.skip(record_id, before.states[column.feature.name][index])
        else:
            column.keep(record_id, vector)


def columns_read(config: RunConfig, modality: str) -> list[str]:
    """The source columns that computing a modality needs: its own and those of the filter."""
    where = config.source.where
    filtering = sorted(expression.columns(where)) if where else []
    return list(dict.fromkeys([config.column(modality), *filtering]))


def filtered(rows: Iterable[Row], source: Source, config: RunConfig) -> Iterator[tuple[Row, bool]]:
    """Each row, and whether `source.where` keeps it. A row that can't be parsed is kept, as an error."""
    if not config.source.where:
        yield from ((row, True) for row in rows)
        return
    names = expression.columns(config.source.where)
    schema = pa.schema([field for field in source.schema() if field.name in names])
    condition = expression.parse(config.source.where, schema)
    iterator = iter(rows)
    while chunk := list(islice(iterator, _FILTER_CHUNK)):
        values = [row_metadata(schema, row)[0] for row in chunk]
        table = pa.Table.from_pylist(values, schema)
        kept = ds.dataset(table).to_table(columns={"keep": condition})["keep"].to_pylist()
        yield from (
            (row, bool(keep) or bool(row.problem)) for row, keep in zip(chunk, kept, strict=True)
        )
