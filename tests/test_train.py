"""What a training worker leaves, for every kind of label, without Ray."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from learned import write_data
from safetensors.torch import load_file

from encoders.base import Identity
from pipeline.errors import PolyfuseError, Refused
from pipeline.files import create
from pipeline.fit.labels import Labels
from pipeline.fit.recipe import Training
from pipeline.fit.train import Task, train_model
from pipeline.lease import Lease
from pipeline.models import Record

ROWS = 600
TRAINING = Training(steps=120, evaluate=30, batch=64, learning_rate=0.01, warmup=5)
THREE = Labels("classify", ("a", "b", "c"))


def features(seed=0):
    """Two noisy views of a hidden pair of numbers; some missing."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(ROWS, 2)).astype(np.float32)
    views = {n: hidden @ rng.normal(size=(2, 6)).astype(np.float32) for n in ("a", "b")}
    views["a"][::5] = np.nan
    return hidden, {
        n: v + 0.05 * rng.normal(size=v.shape).astype(np.float32) for n, v in views.items()
    }


def task(run, data, **changes):
    given = {
        "run": run, "model": "m", "lease": Lease(run, 0), "name": "gmu", "dims": {"a": 6, "b": 6},
        "options": {"dim": 16}, "objective": "reconstruct", "objective_options": {},
        "training": TRAINING, "data": data, "digest": "d", "label": "y",
    }  # fmt: skip
    return Task(**{**given, **changes})


def labelled(hidden, kind):
    angle = np.degrees(np.arctan2(hidden[:, 1], hidden[:, 0])) + 180
    sector = np.minimum(angle // 120, 2).astype(int)
    return {
        "classify": pa.array([None if i % 7 == 0 else "abc"[s] for i, s in enumerate(sector)]),
        "regress": pa.array([None if i % 7 == 0 else float(h) for i, h in enumerate(hidden[:, 0])]),
        "multilabel": pa.array(
            [[n for n, v in zip("xy", h, strict=True) if v > 0] for h in hidden]
        ),
    }[kind]


@pytest.mark.parametrize(
    ("labels", "options", "metric", "least"),
    [
        (THREE, {"classes": 3}, "accuracy", 0.85),
        (Labels("regress"), {"outputs": 1}, "R2", 0.8),
        (Labels("multilabel", ("x", "y")), {"classes": 2}, None, 0.8),
    ],
    ids=lambda value: value.task if isinstance(value, Labels) else None,
)
def test_every_kind_of_label_is_learned_and_measured_on_the_test_part(
    tmp_path, labels, options, metric, least
):
    hidden, views = features()
    column = labelled(hidden, labels.task)
    data = write_data(tmp_path, views, labels=column, task=labels)
    outcome = train_model(task(tmp_path, data, objective=labels.task, objective_options=options))
    metrics = json.loads((tmp_path / "models" / "m" / "metrics.json").read_text())
    assert metrics["rows"] == dict(outcome.rows)
    assert sum(outcome.rows.values()) == ROWS - column.null_count
    found = metrics["metrics"]
    name = metric or next(name for name in found if "micro" in name)
    assert found[name]["value"] > least, found
    assert set(outcome.files) == {p.name for p in (tmp_path / "models" / "m").iterdir()} - {
        "checkpoint-d.safetensors", "training.json",
    }  # fmt: skip


def test_a_label_term_learns_from_labels_and_keeps_records_without(tmp_path):
    hidden, views = features()
    data = write_data(tmp_path, views, labels=labelled(hidden, "classify"), task=THREE)
    half = type(data)(data.run, data.shards, data.features, THREE, supervised=False)
    options = {"label": 1.0, "classes": 3, "hidden": [16]}
    outcome = train_model(task(tmp_path, half, objective_options=options))
    assert sum(outcome.rows.values()) == ROWS
    assert "metrics.json" not in outcome.files


def test_sequences_are_learned_from_as_such(tmp_path):
    hidden, views = features()
    rng = np.random.default_rng(3)
    steps = [np.repeat(h[None], rng.integers(1, 5), axis=0) for h in hidden]
    data = write_data(tmp_path, views, sequences={"s": steps})
    short = Training(steps=20, evaluate=10, batch=32)
    options = {"dim": 8, "width": 8, "heads": 2, "layers": 2}
    dims = {"a": 6, "b": 6, "s": 2}
    outcome = train_model(
        task(tmp_path, data, name="mbt", dims=dims, options=options, training=short)
    )
    assert outcome.history.points[-1].step == 20


def test_the_same_task_gives_the_same_bytes_and_a_frozen_start_stays(tmp_path):
    hidden, views = features()
    data = write_data(tmp_path, views, labels=labelled(hidden, "classify"), task=THREE)
    first = train_model(task(tmp_path, data))
    (tmp_path / "models" / "m" / "checkpoint-d.safetensors").unlink()
    assert train_model(task(tmp_path, data)).files == first.files
    identity = Identity("gmu", first.dim, "", {})
    Record("gmu", {"a": 6, "b": 6}, {"dim": 16}, identity, first.files).write(tmp_path, "m")
    head = task(
        tmp_path, data, model="head", objective="classify", objective_options={"classes": 3},
        start="m", frozen=True,
    )  # fmt: skip
    assert train_model(head).files["model.safetensors"] == first.files["model.safetensors"]
    weights = load_file(tmp_path / "models" / "head" / "objective.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_a_training_whose_lease_is_gone_stops_and_publishes_nothing(tmp_path):
    _, views = features()
    data = write_data(tmp_path, views)
    create(tmp_path / "lease" / "0000001.json", b"{}")
    with pytest.raises(Refused, match="another writer took over"):
        train_model(task(tmp_path, data))
    assert not (tmp_path / "models" / "m" / "model.safetensors").exists()


def test_nothing_to_train_on_is_one_sentence(tmp_path):
    data = write_data(tmp_path, {"a": np.full((20, 6), np.nan, np.float32)})
    with pytest.raises(PolyfuseError, match="0 records to train on"):
        train_model(task(tmp_path, data, dims={"a": 6}))
