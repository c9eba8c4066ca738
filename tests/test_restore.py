"""polyfuse restore on a real run: what is written, where, for whom; refusals; what becomes of it."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from corpus import write_corpus
from safetensors.torch import load_file
from typer.testing import CliRunner

import fusion
from fusion import objectives
from jobs.cli import app
from pipeline import Run, files, garbage
from pipeline import config as configuration
from pipeline.errors import PolyfuseError
from pipeline.ledger import Ledger
from pipeline.models import OBJECTIVE, WEIGHTS
from pipeline.restore import count
from pipeline.run import Options, restore, run
from pipeline.saved import load_saved
from pipeline.verify import verify

pytestmark = pytest.mark.ray
SHORT = {"steps": 30, "batch": 16, "evaluate": 10, "warmup": 1}
MODELS = {
    "joint": {"name": "vae", "dim": 4, "hidden": [8], "training": SHORT},
    "sides": {"name": "concat", "inputs": ["title", "sound"]},
    "over": {
        "name": "autoencoder",
        "inputs": ["joint"],
        "dim": 2,
        "hidden": [4],
        "training": SHORT,
    },
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run with a model that can restore and two that can't."""
    config = write_corpus(tmp_path_factory.mktemp("restore"), 40)
    data = yaml.safe_load(config.read_text())
    data |= {"models": MODELS, "workers": 1}
    config.write_text(yaml.safe_dump(data, sort_keys=False))
    run(configuration.load(config), Options(("extract", "fit", "fuse")))
    restore(config.parent / "run", "joint", Options())
    return config.parent / "run"


def rows(dataset):
    table = dataset.to_table()
    return {row["record_id"]: row for row in table.to_pylist()}


def test_a_vector_is_there_exactly_where_the_feature_has_none(done):
    found = Run(done)
    present = {r: row["present"] for r, row in rows(found.records()).items()}
    some = 0
    for feature in ("photo", "title", "sound"):
        restored = rows(found.restored("joint", feature))
        assert restored.keys() == present.keys()
        for record, row in restored.items():
            assert row["restored"] == (bool(present[record]) and feature not in present[record])
            assert (row["vector"] is not None) == row["restored"]
            some += row["restored"]
    assert some > 10
    assert sum(count(done, "joint").values()) == some


def test_a_restored_vector_is_that_of_the_decoders_in_the_units_of_the_feature(done):
    found = Run(done)
    folder = done / "models" / "joint"
    record = files.read_json(folder / "config.json")
    model = fusion.build(record["name"], record["dims"], **record["options"])
    model.load_state_dict(load_file(folder / WEIGHTS))
    own = record["objective"]
    objective = objectives.build(own["name"], model, **own["options"])
    objective.load_state_dict(load_file(folder / OBJECTIVE))
    model.eval(), objective.eval()
    features = {n: rows(found.features(n)) for n in model.dims}
    for name in model.dims:
        for key, row in rows(found.restored("joint", name)).items():
            if not row["restored"]:
                continue
            given = {n: features[n][key]["vector"] for n in model.dims}
            given = {n: v for n, v in given.items() if v is not None}
            present = {n: torch.ones(1, dtype=torch.bool) for n in given}
            with torch.no_grad():
                vector = model({n: torch.tensor([v]) for n, v in given.items()}, present).vector
                decoded = objective.decoders[name](vector)[0]
            scaling = model.scaling[name]
            expected = decoded * scaling.deviation + scaling.mean
            np.testing.assert_allclose(row["vector"], expected, rtol=1e-4, atol=1e-5)


def test_the_audit_knows_it_and_doing_it_again_changes_nothing(done):
    audit = verify(done)
    assert audit.problems == []
    assert audit.garbage == []
    before = {p: p.read_bytes() for p in (done / "restored").rglob("*.parquet")}
    assert len(before) == 9  # 3 shards, 3 features
    assert restore(done, "joint", Options()).computed == 0
    assert {p: p.read_bytes() for p in (done / "restored").rglob("*.parquet")} == before


def test_the_audit_finds_a_restored_vector_that_is_a_measured_one(done, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(done, copy)
    path = next((copy / "restored/joint/title").glob("*.parquet"))
    table = pq.read_table(path)
    flags = table["restored"].to_numpy(zero_copy_only=False).copy()
    flags[0] = not flags[0]
    pq.write_table(table.set_column(2, "restored", [flags]), path)
    problems = "\n".join(verify(copy).problems)
    assert "its bytes are not those that were written" in problems
    assert "restored, and measured or without a vector" in problems


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nobody", "has no model 'nobody'; there are: joint, sides, over"),
        ("sides", r"sides \(concat\) can't restore: it is not learned, so it has no decoders"),
        ("over", "over can't restore: it takes only vectors of other models"),
    ],
)
def test_a_model_that_can_not_restore_is_refused_in_a_sentence(done, model, message):
    with pytest.raises(PolyfuseError, match=message):
        restore(done, model, Options())


def test_a_model_that_is_not_trained_is_refused(done, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(done, copy)
    saved = yaml.safe_load((copy / "config.yaml").read_text())
    del saved["identities"]["joint"]
    (copy / "config.yaml").write_text(yaml.safe_dump(saved))
    with pytest.raises(PolyfuseError, match="joint is not trained as the configuration asks"):
        restore(copy, "joint", Options())


def test_a_model_trained_anew_takes_what_the_old_one_restored_with_it(done, tmp_path):
    """Also a file that no marker names, and everything under a restart."""
    folder = tmp_path / "corpus"
    shutil.copytree(done.parent, folder)
    config, copy = folder / "run.yaml", folder / "run"
    stray = copy / "restored/joint/title/part-0000000-0123456789abcdef.parquet"
    stray.write_bytes(b"")
    assert stray in set(garbage.find(copy, Ledger(copy), load_saved(copy).config))
    run(configuration.load(config), Options(("fit", "fuse")))
    assert not stray.exists()
    assert len(list((copy / "restored").rglob("*.parquet"))) == 9
    again = configuration.load(config, ["models.joint.training.seed=5"])
    run(again, Options(("fit", "fuse")))
    assert not list((copy / "restored").rglob("*.parquet"))
    assert not any(name.startswith("restored/") for name in Run(copy).snapshot.folders())


def test_the_command(done):
    result = CliRunner().invoke(app, ["restore", "--help"])
    assert result.exit_code == 0
    assert "polyfuse restore runs/products joint" in result.output
