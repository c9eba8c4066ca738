"""`predict` on a real Ray: the labels of a run's records, of new ones, and what it refuses."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from corpus import write_corpus
from safetensors.torch import load_file

from fusion import objectives
from jobs.cli import app
from pipeline import config as configuration
from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.fuse import load_model
from pipeline.models import Record
from pipeline.predict import predict
from pipeline.results import Run
from pipeline.run import Options, run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
SHORT = {"steps": 60, "evaluate": 20, "batch": 16}


def corpus(folder, records, seed=0, **changes):
    path = write_corpus(folder, records=records, seed=seed)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [["key", "kind"], *([f"r{i:03d}", f"kind {i % 6}"] for i in range(records))]
        )
    settings = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run with a head on the titles and photos; never changed by a test."""
    folder = tmp_path_factory.mktemp("trained")
    path = corpus(
        folder,
        60,
        models={"both": {"name": "concat", "inputs": ["photo", "title"]}},
        label={"column": "kind", "file": "labels.csv", "id": "key"},
        head={"name": "linear", "on": "both", "training": SHORT},
    )
    run(configuration.load(path), Options(("extract", "fit", "fuse")))
    return folder / "run"


def test_every_record_of_the_run_gets_the_label_that_the_head_gives_it(trained, tmp_path):
    summary = predict(trained, "head", tmp_path / "out.parquet")
    table = pq.read_table(summary.out)
    assert (summary.task, summary.records, summary.predicted) == ("classify", 60, 60)
    assert json.loads(table.schema.metadata[b"classes"]) == [f"kind {i}" for i in range(6)]
    found = table.to_pandas()
    records = Run(trained).records().to_table().to_pandas()
    assert list(found["record_id"]) == list(records["record_id"])
    probabilities = np.stack(found["probabilities"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities.max(axis=1), found["probability"])
    # The same by hand, all at once and without Ray.
    folder = trained / "models" / "head"
    record, model = Record.read(trained, "head"), load_model(folder)
    head = objectives.build(record.objective["name"], model, **record.objective["options"])
    head.load_state_dict(load_file(folder / "objective.safetensors"))
    vectors = {name: torch.tensor(Run(trained).vectors(name)[1]) for name in record.inputs}
    present = {name: ~x.isnan().any(dim=1) for name, x in vectors.items()}
    with torch.no_grad():
        expected = head.eval().predict(model, vectors, present)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5)
    names = [record.labels["classes"][i] for i in expected.values]
    assert list(found["prediction"]) == names


def test_new_records_in_a_run_without_labels(trained, tmp_path):
    path = corpus(tmp_path, 20, seed=5)
    table = pd.read_csv(tmp_path / "records.csv")
    table.loc[3, ["photo", "title"]] = None  # nothing that the head reads
    table.to_csv(tmp_path / "records.csv", index=False)
    run(configuration.load(path), Options(("extract",)))
    out = tmp_path / "new.parquet"
    summary = predict(tmp_path / "run", str(trained / "models" / "head"), out)
    assert (summary.records, summary.predicted) == (20, 19)
    found = pd.read_parquet(out)
    assert found.loc[3, ["prediction", "probability", "probabilities"]].isna().all()
    first = out.read_bytes()
    predict(tmp_path / "run", str(trained / "models" / "head"), out)
    assert out.read_bytes() == first


def test_vectors_of_another_kind_are_refused_with_both_shown(trained, tmp_path):
    other = {
        "photo": {"kind": "image"},
        "title": {"kind": "text", "encoder": {"name": "hashed-ngrams", "dim": 64}},
    }
    run(configuration.load(corpus(tmp_path, 8, modalities=other)), Options(("extract",)))
    head = str(trained / "models" / "head")
    learned = Run(trained).saved.identities["title"].digest
    mine = Run(tmp_path / "run").saved.identities["title"].digest
    with pytest.raises(Refused, match=f"{learned}.*{mine}"):
        predict(tmp_path / "run", head, tmp_path / "out.parquet")
    lacking = tmp_path / "lacking"
    run(
        configuration.load(corpus(lacking, 8, modalities={"photo": {"kind": "image"}})),
        Options(("extract",)),
    )
    with pytest.raises(Refused, match="reads title .* does not have; it has .*photo"):
        predict(lacking / "run", head, tmp_path / "out.parquet")
    assert not list(tmp_path.glob("*.parquet"))


def test_a_head_may_be_copied_anywhere(trained, tmp_path):
    shutil.copytree(trained / "models" / "head", tmp_path / "mine")
    one = predict(trained, str(tmp_path / "mine"), tmp_path / "one.parquet")
    other = predict(trained, "head", tmp_path / "other.parquet")
    assert one.out.read_bytes() == other.out.read_bytes()


def test_what_is_no_head_is_said(trained, tmp_path):
    with pytest.raises(ConfigError, match=r"no head 'haed'.*\(head\)"):
        predict(trained, "haed", tmp_path / "out.parquet")
    with pytest.raises(ConfigError, match="gives vectors, no labels"):
        predict(trained, "both", tmp_path / "out.parquet")
    copy = tmp_path / "head"
    shutil.copytree(trained / "models" / "head", copy)
    (copy / "objective.safetensors").write_bytes(b"other")
    with pytest.raises(PolyfuseError, match="objective.safetensors is not what was written"):
        predict(trained, str(copy), tmp_path / "out.parquet")


def test_the_command_answers_a_program(trained, tmp_path):
    assert "predict" in {command.name for command in app.registered_commands}
    out = tmp_path / "out.parquet"
    command = [
        sys.executable,
        "-m",
        "jobs.cli",
        "predict",
        str(trained),
        "head",
        str(out),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    answer = json.loads(done.stdout)
    assert (answer["records"], answer["predicted"], answer["task"]) == (60, 60, "classify")
    assert out.exists()
