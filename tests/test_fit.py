"""`fit` on a real Ray: what a trained model leaves, when it is trained again, kills, several workers."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from corpus import picture, tone, write_corpus
from safetensors.torch import load_file

from chaos.processes import descendants
from pipeline import config as configuration
from pipeline.errors import ConfigError, PolyfuseError
from pipeline.fuse import load_model
from pipeline.models import Record
from pipeline.run import Options, run
from pipeline.saved import load_saved
from pipeline.status import read_status
from pipeline.store import Snapshot
from pipeline.verify import verify

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
ROOT = Path(__file__).resolve().parent.parent
SHORT = {"steps": 40, "evaluate": 10, "batch": 16}


def settings(folder: Path, **changes) -> Path:
    """The corpus's configuration with other keys."""
    path = folder / "run.yaml"
    path.write_text(
        yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}, sort_keys=False)
    )
    return path


class Told:
    """A progress that remembers."""

    def __init__(self):
        self.said = []
        self.notes = []

    def stage(self, name, total, done=0, unit="rows"):
        pass

    def advance(self, rows, failed=0, note=""):
        self.notes.append(note)

    def say(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run with a chain of models and a head; never changed by a test."""
    folder = tmp_path_factory.mktemp("fit")
    write_corpus(folder, records=96)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["key", "kind"], *([f"r{i:03d}", f"kind {i % 6}"] for i in range(0, 96))]
        )
    path = settings(
        folder,
        models={
            "joint": {"name": "gmu", "dim": 16, "training": SHORT},
            "chain": {"name": "decision-mean", "inputs": ["joint", "title"], "training": SHORT},
        },
        label={"column": "kind", "file": "labels.csv", "id": "key"},
        head={"name": "linear", "on": "joint", "training": SHORT},
    )
    run(configuration.load(path))
    return folder


@pytest.fixture
def copy(done, tmp_path):
    shutil.copytree(done, tmp_path / "copy", copy_function=shutil.copy2)
    return tmp_path / "copy"


def test_a_run_trains_fuses_and_indexes_and_then_has_nothing_to_do(done):
    saved = load_saved(done / "run")
    for model in ("joint", "chain"):
        record = Record.read(done / "run", model)
        assert saved.identities[model] == record.identity
        assert record.identity.weights == record.files["model.safetensors"]
        fused = pd.read_parquet(done / "run" / "fused" / model)
        assert len(fused) == 96
        assert np.isfinite(np.stack(fused["vector"].to_numpy())).all()
    assert Record.read(done / "run", "chain").identity.settings["inputs"]["joint"] == (
        saved.identities["joint"].digest
    )
    assert {"joint", "chain"} <= set(read_status(done / "run").indexes)
    before = {p: p.stat().st_mtime_ns for p in (done / "run" / "models").rglob("*")}
    again = run(configuration.load(done / "run.yaml"))
    assert again.computed == 0
    assert before == {p: p.stat().st_mtime_ns for p in (done / "run" / "models").rglob("*")}
    audit = verify(done / "run")
    assert (audit.problems, audit.garbage, audit.models) == ([], [], 3)
    assert [(m.name, m.state) for m in read_status(done / "run").models] == [
        (name, "trained") for name in ("joint", "chain", "head")
    ]


def test_the_fused_table_is_what_the_model_says_of_the_stored_features(done):
    model = load_model(done / "run" / "models" / "joint")
    run_ = done / "run"
    features, present = {}, {}
    for name in model.dims:
        column = pd.concat(
            pd.read_parquet(part.path) for part in Snapshot.latest(run_).parts(f"features/{name}")
        )["vector"]
        present[name] = torch.tensor(column.notna().to_numpy())
        blank = np.zeros(model.dims[name], np.float32)
        features[name] = torch.tensor(np.stack([blank if v is None else v for v in column]))
    with torch.inference_mode():
        wanted = model(features, present).vector.numpy()
    stored = pd.concat(
        pd.read_parquet(part.path) for part in Snapshot.latest(run_).parts("fused/joint")
    )["vector"]
    np.testing.assert_allclose(np.stack(stored), wanted, atol=1e-6)


def test_labels_name_the_classes_and_the_test_part_is_measured(done):
    record = Record.read(done / "run", "head")
    assert record.labels == {"task": "classify", "classes": [f"kind {i}" for i in range(6)]}
    assert record.objective["options"]["classes"] == 6
    metrics = json.loads((done / "run" / "models" / "head" / "metrics.json").read_text())
    parts = pd.read_parquet(done / "run" / "split")["part"].value_counts()
    assert metrics["rows"] == {name: parts[name] for name in ("train", "valid", "test")}
    assert metrics["classes"] == record.labels["classes"]
    # A frozen head leaves the fusion under it as it was.
    ours, theirs = (
        load_file(done / "run" / "models" / m / "model.safetensors") for m in ("head", "joint")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_changed_settings_train_anew_and_fused_vectors_follow(copy):
    models = yaml.safe_load((copy / "run.yaml").read_text())["models"]
    before = {m: Record.read(copy / "run", m).identity.digest for m in ("joint", "chain")}
    earlier = pd.read_parquet(copy / "run" / "fused" / "joint")
    models["joint"]["training"] = {**SHORT, "learning_rate": 0.01}
    path = settings(copy, models=models)
    with pytest.raises(
        PolyfuseError, match="joint is not trained as the configuration asks.*polyfuse fit"
    ):
        run(configuration.load(path), Options(("fuse",)))
    run(configuration.load(path), Options(("fit", "fuse")))
    after = {m: Record.read(copy / "run", m).identity.digest for m in before}
    assert after["joint"] != before["joint"]
    assert after["chain"] != before["chain"]  # its input is another now
    fused = pd.read_parquet(copy / "run" / "fused" / "joint")
    assert len(fused) == len(earlier) == 96
    assert not np.allclose(np.stack(fused["vector"]), np.stack(earlier["vector"]))


def test_new_records_get_vectors_from_the_model_that_is_there_until_somebody_says_again(copy):
    rng = np.random.default_rng(1)
    with (copy / "records.csv").open("a", newline="") as file:
        for i in range(96, 120):
            (copy / f"photo-{i}.png").write_bytes(picture(rng))
            (copy / f"sound-{i}.wav").write_bytes(tone(300, rng))
            csv.writer(file).writerow(
                [f"r{i:03d}", f"thing {i % 6}", f"photo-{i}.png", f"sound-{i}.wav", "1"]
            )
    path = settings(
        copy, models={"joint": {"name": "gmu", "dim": 16, "training": SHORT}}, head=None
    )
    path.write_text(path.read_text().replace("head: null\n", ""))
    before, told = Record.read(copy / "run", "joint"), Told()
    run(configuration.load(path), progress=told)
    assert Record.read(copy / "run", "joint") == before
    assert any("joint: the data have changed" in line and "--again" in line for line in told.said)
    assert len(pd.read_parquet(copy / "run" / "fused" / "joint")) == 120
    run(configuration.load(path), Options(("fit",), again=True))
    after = Record.read(copy / "run", "joint")
    assert after.trained.rows["train"] > before.trained.rows["train"]
    assert after.identity.weights != before.identity.weights


def test_two_workers_give_the_same_weights_twice_and_learn_what_one_learns(copy):
    def fit(workers):
        models = {"joint": {"name": "gmu", "dim": 16, "training": {**SHORT, "workers": workers}}}
        path = settings(copy, models=models)
        data = yaml.safe_load(path.read_text())
        data.pop("head", None)
        path.write_text(yaml.safe_dump(data))
        told = Told()
        run(configuration.load(path), Options(("fit",), again=True), told)
        assert any(note.startswith("loss ") for note in told.notes)
        return Record.read(copy / "run", "joint")

    first, second, alone = fit(2), fit(2), fit(1)
    assert first.identity.weights == second.identity.weights != alone.identity.weights
    assert first.trained.workers == 2
    assert first.trained.valid == pytest.approx(alone.trained.valid, rel=0.15)


def test_a_killed_training_goes_on_to_the_weights_of_an_undisturbed_one(copy):
    training = {"steps": 400, "evaluate": 20, "batch": 32, "patience": 100}
    path = settings(copy, models={"joint": {"name": "gmu", "dim": 64, "training": training}})
    data = yaml.safe_load(path.read_text())
    data.pop("head", None)
    path.write_text(yaml.safe_dump(data))
    folder = copy / "run" / "models" / "joint"

    def undisturbed():
        return run(configuration.load(path), Options(("fit",)))

    def left():
        assert not list(folder.glob("checkpoint-*"))
        names = ("model.safetensors", "objective.safetensors", "history.json")
        return [(folder / name).read_bytes() for name in names]

    undisturbed()
    calm = left()

    (folder / "config.json").unlink()
    with ThreadPoolExecutor() as threads:  # the worker dies, Ray starts another one
        going = threads.submit(undisturbed)
        assert kill_in_training(os.getpid(), folder, "train_model", going.done)
        going.result()
    assert left() == calm

    (folder / "config.json").unlink()
    command = [sys.executable, "-m", "jobs.cli", "fit", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    ended = lambda: process.poll() is not None  # noqa: E731
    assert kill_in_training(process.pid, folder, "jobs.cli", ended)  # the driver and all it started
    process.wait(timeout=60)
    undisturbed()
    assert left() == calm


def kill_in_training(pid: int, folder: Path, name: str, ended) -> bool:
    """SIGKILL the process of this name below `pid` when a checkpoint is there; whether there was one."""
    while not ended():
        if list(folder.glob("checkpoint-*")):
            for child, line in descendants(pid):
                if name in line:
                    os.kill(child, signal.SIGKILL)
                    return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, r"models.chain: decision-mean learns from labels.*add label"),
        (
            {"models": {"m": {"name": "gmu", "objective": "guess"}}},
            r"models.m.objective: unknown name 'guess'",
        ),
        (
            {"models": {"m": {"name": "concat", "objective": "reconstruct"}}},
            "models.m.objective: concat has nothing to train",
        ),
        (
            {"models": {"m": {"name": "gmu", "training": {"step": 5}}}},
            r"models.m.training.step: unknown key.*'steps'",
        ),
        (
            {"models": {"m": {"name": "gmu", "training": {"steps": 0}}}},
            r"models.m.training: .*steps: expected a number > 0",
        ),
        (
            {"models": {"m": {"name": "decision-mean", "classes": 3}}},
            "models.m.classes: it follows from the labels",
        ),
        (
            {"models": {"m": {"name": "gmu", "inputs": ["n"]}, "n": {"name": "sum"}}},
            "'n' is no feature or earlier model",
        ),
        ({"head": {"name": "linear", "on": "nobody"}}, "head.on: 'nobody' is no feature or model"),
        ({"head": {"name": "deep", "on": "title"}}, "head.name: unknown name 'deep'"),
        ({"label": {"column": ["a", "b"]}}, r"label.column: expected one column, got \['a', 'b'\]"),
    ],
)
def test_mistakes_are_named_with_their_place(done, changes, message):
    data = {**yaml.safe_load((done / "run.yaml").read_text()), **changes}
    data = {key: value for key, value in data.items() if value is not None}
    if "models" in changes:
        data.pop("head", None)
    if "label" in changes:
        data.pop("head")
    with pytest.raises(ConfigError, match=message):
        configuration.parse(data, done)
