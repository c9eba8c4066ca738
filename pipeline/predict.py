"""Applying a head to the records of any run: shard by shard on Ray, one Parquet file in their order."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from fusion import objectives
from fusion.base import Fusion
from fusion.objectives.prediction import Prediction, Predictor
from fusion.presence import anything
from pipeline import cluster, files, intact, schemas
from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.fuse import load_model
from pipeline.models import OBJECTIVE, Record, folder_of
from pipeline.onefile import whole_file
from pipeline.progress import Progress, Silent
from pipeline.saved import SavedRun, load_saved
from pipeline.store import Snapshot
from pipeline.vectors import rows_of, tensors

_ROWS = 1024  # records predicted at a time


@dataclass(frozen=True)
class Summary:
    """What was written. predicted: the records that have a feature to predict from."""

    out: Path
    head: Path
    task: str
    records: int
    predicted: int


def predict(
    run: Path, head: str, out: Path, *, address: str | None = None, progress: Progress | None = None
) -> Summary:
    """Write record_id and the predicted label of every record.

    One class: prediction (its name), probability (its own) and probabilities (of all classes, named
    in the file's metadata). Several: prediction is a list of names, with the probabilities. Numbers:
    prediction alone. Null for a record that has none of the features the head reads.

    Args:
        run: a finished run, not necessarily the one the head was trained in.
        head: the name of a model in that run, or the folder of one in any run.

    Raises:
        PolyfuseError: no such head, one that predicts nothing, or nothing to predict from.
        Refused: the run's vectors are not of the kind that the head learned from.
    """
    progress = progress or Silent()
    folder = _folder(run, head)
    record = _record(folder)
    saved = load_saved(run)
    _check_inputs(run, saved, folder, record)
    snapshot = Snapshot.latest(run)
    columns = {name: snapshot.parts(folder_of(saved.config, name)) for name in record.inputs}
    if not all(columns.values()):
        missing = ", ".join(name for name, parts in columns.items() if not parts)
        raise PolyfuseError(f"{run} has no vectors of {missing} yet: finish it with `polyfuse run`")
    calls = [
        (folder, {name: parts[i].path for name, parts in columns.items()})
        for i in range(len(next(iter(columns.values()))))
    ]
    rows = sum(part.rows for part in next(iter(columns.values())))
    records = predicted = 0
    with cluster.connected(address, saved.config.workers):
        progress.stage("predict", rows)
        with whole_file(out) as append:
            for table in _tables(calls, saved):
                append(table)
                records += len(table)
                predicted += len(table) - table["prediction"].null_count
                progress.advance(len(table))
    assert record.labels is not None, "it predicts"
    return Summary(out, folder, record.labels["task"], records, predicted)


def _tables(calls: Sequence[tuple[Path, dict[str, Path]]], saved: SavedRun) -> Iterator[pa.Table]:
    one = cluster.Resources(cpus=1)
    ahead = 2 * cluster.worker_count(saved.config.workers, one)
    return cluster.in_order(predict_shard, calls, one, "predict", ahead=ahead)


def _folder(run: Path, head: str) -> Path:
    """Where the head is: a model of this run, or a folder that holds one."""
    for folder in (run / "models" / head, files.at(head)):
        if (folder / "config.json").exists():
            return folder.resolve()
    known = sorted(path.parent.name for path in run.glob("models/*/" + OBJECTIVE))
    raise ConfigError(
        f"no head {head!r}: expected the folder of one, RUN/models/head, or a name in {run}"
        f" ({', '.join(known) or 'which has none'})"
    )


def _record(folder: Path) -> Record:
    """What is known of the head, its files being whole."""
    record = Record.of(folder)
    assert record is not None, "its config.json was seen"
    if record.objective is None or not record.labels:
        raise ConfigError(
            f"{folder} gives vectors, no labels: train a head with `head:` and a label"
        )
    if not issubclass(objectives.target(record.objective["name"]), Predictor):
        raise ConfigError(
            f"{folder} was trained for {record.objective['name']}, which predicts no labels: "
            "train it for classify, regress or multilabel"
        )
    if damaged := record.damaged(folder):
        raise PolyfuseError(
            f"{folder}: {', '.join(damaged)} is not what was written: train it again with "
            "`polyfuse fit CONFIG --again`"
        )
    return record


def _check_inputs(run: Path, saved: SavedRun, folder: Path, record: Record) -> None:
    learned: Mapping[str, str] = record.identity.settings["inputs"]
    for name in record.inputs:
        mine = saved.identities.get(name)
        if mine is None:
            raise Refused(
                f"{folder.name} reads {name} ({learned[name]}), which {run} does not have; "
                f"it has {', '.join(sorted(saved.identities))}"
            )
        if mine.digest != learned[name]:
            raise Refused(
                f"{folder.name} learned from {name} of identity {learned[name]}; in {run} it is "
                f"{mine.encoder} ({mine.digest}): vectors of another kind can't be compared"
            )


def predict_shard(folder: Path, parts: Mapping[str, Path]) -> pa.Table:
    """The predictions for one shard, given the part of every input."""
    torch.set_num_threads(1)
    model, head, record = _loaded(folder, (folder / "config.json").stat().st_mtime_ns)
    assert record.labels is not None, "the driver has looked"
    tables = {name: intact.read(path) for name, path in parts.items()}
    ids = next(iter(tables.values()))["record_id"]
    columns = {
        name: rows_of(table["vector"], sequences=model.takes_sequences)
        for name, table in tables.items()
    }
    blocks = []
    for start in range(0, max(len(ids), 1), _ROWS):
        given = {
            n: tensors(x[start : start + _ROWS], v[start : start + _ROWS])
            for n, (x, v) in columns.items()
        }
        features = {name: values for name, (values, _) in given.items()}
        present = {name: mask for name, (_, mask) in given.items()}
        with torch.inference_mode():
            blocks.append((head.predict(model, features, present), anything(present)))
    known = torch.cat([there for _, there in blocks]).numpy()
    values = torch.cat([found.values for found, _ in blocks])
    chances = [p.probabilities for p, _ in blocks if p.probabilities is not None]
    prediction = Prediction(values, torch.cat(chances) if chances else None)
    return _table(ids.combine_chunks(), prediction, known, record.labels)


@functools.lru_cache(maxsize=1)
def _loaded(folder: Path, written: int) -> tuple[Fusion, Predictor, Record]:
    """The head, kept for the next shard of this worker; `written` tells it from a later one."""
    record = Record.known(folder)
    assert record.objective is not None, "the driver has looked"
    model = load_model(folder)
    head = objectives.build(record.objective["name"], model, **record.objective["options"])
    assert isinstance(head, Predictor), "the driver has looked"
    head.load_state_dict(record.weights(folder, OBJECTIVE))
    return model, head.eval(), record


def _table(
    ids: pa.Array, prediction: Prediction, known: np.ndarray, labels: Mapping[str, object]
) -> pa.Table:
    classes = np.array(labels["classes"], dtype=object)
    columns = {"record_id": ids}
    values = prediction.values.numpy()
    if labels["task"] == "regress":
        columns["prediction"] = pa.array(values[:, 0], pa.float32(), mask=~known)
    elif labels["task"] == "classify":
        columns["prediction"] = pa.array(classes[values], pa.string(), mask=~known)
    else:
        named = [
            list(classes[row]) if there else None for row, there in zip(values, known, strict=True)
        ]
        columns["prediction"] = pa.array(named, pa.list_(pa.string()))
    if prediction.probabilities is not None:
        probabilities = prediction.probabilities.float().numpy()
        if labels["task"] == "classify":
            columns["probability"] = pa.array(probabilities.max(axis=1), pa.float32(), mask=~known)
        columns["probabilities"] = schemas.vectors_array(probabilities, known)
    metadata = {"format": str(files.FORMAT), "classes": json.dumps(list(classes))}
    return pa.table(columns).replace_schema_metadata(metadata)
