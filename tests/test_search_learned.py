"""Search through learned fusions: any subset of modalities, mixes, filters; recomputed with numpy."""

import hashlib
import io
import json

import numpy as np
import pytest
import torch
from corpus import tone
from PIL import Image
from safetensors.torch import save
from stored import index_all, write_run
from typer.testing import CliRunner

import encoders
import fusion
from encoders.base import Identity
from encoders.media import Limits, decode
from fusion.batch import Batch
from jobs.cli import app
from learning.reduce import reduce
from pipeline import files
from pipeline.config import RunConfig
from pipeline.errors import ConfigError
from pipeline.fuse import identity_settings
from pipeline.models import WEIGHTS, Record
from pipeline.saved import SavedRun, Setting, identify_feature
from pipeline.search.searcher import Searcher

pytestmark = pytest.mark.usefixtures("own_cache")
DIMS = {"image": 8, "sound": 6, "text": 12}
MODELS = {
    "joint": {"name": "cca", "dim": 4},
    "gated": {"name": "gmu", "dim": 5},
    "chain": {"name": "cca", "dim": 4, "inputs": ["gated", "text"]},
}
N = 900


def features(seed=0):
    """Noisy views of one latent; every third record has all, the others some, the last two few."""
    rng = np.random.default_rng(seed)
    code = rng.normal(size=(N, 4))
    found = {}
    for name, dim in DIMS.items():
        noise = 0.05 * rng.normal(size=(N, dim))
        found[name] = (code @ rng.normal(size=(4, dim)) + noise).astype("f4")
        found[name][(rng.random(N) < 0.4) & (np.arange(N) % 3 > 0)] = np.nan
    found["text"][600:] = np.nan  # the rest have image or sound alone
    return found, code


def batch_of(matrices):
    return Batch(
        {name: torch.from_numpy(np.nan_to_num(m)) for name, m in matrices.items()},
        {name: torch.from_numpy(np.isfinite(m).all(axis=1)) for name, m in matrices.items()},
    )


def write_learned(folder, config, matrices, metadata):
    """A run of these features with the models of its configuration, as training leaves it."""
    identities = {feature.name: identify_feature(feature) for feature in config.features()}
    fused = {}
    for name, own in config.models.items():
        own_inputs = {n: (matrices | fused)[n] for n in own.inputs or matrices}
        dims = {n: m.shape[1] for n, m in own_inputs.items()}
        torch.manual_seed(0)
        model = fusion.build(own.name, dims, **own.options).eval()
        batch = batch_of(own_inputs)
        for reduction in model.reductions():
            reduce(reduction, [batch])
        with torch.no_grad():
            fused[name] = model(batch.features, batch.present).vector.numpy()
        weights = save(model.state_dict())
        files.publish(folder / "models" / name / WEIGHTS, weights)
        digest = hashlib.sha256(weights).hexdigest()
        settings = identity_settings(own.options, dims, identities)
        identities[name] = Identity(own.name, model.dim, digest, settings)
        Record(
            own.name, dims, own.options, identities[name], {WEIGHTS: digest}, inputs=tuple(dims)
        ).write(folder, name)
    saved = SavedRun(config, identities, {name: Setting() for name in identities}, {})
    (folder / "config.yaml").write_text(saved.to_yaml())
    index_all(write_run(folder, matrices, metadata, models=fused), saved)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three vector features and three learned models."""
    folder = tmp_path_factory.mktemp("learned")
    matrices, _ = features()
    config = RunConfig.model_validate({
        "source": {"path": "x.csv"},
        "modalities": {n: {"kind": "vector", "encoder": {"name": "as-is", "dim": d}}
                       for n, d in DIMS.items()},
        "output": str(folder),
        "models": MODELS,
    })  # fmt: skip
    price = {"price": np.random.default_rng(1).random(N).tolist()}
    write_learned(folder, config, matrices, price)
    return folder


def numbers(hits):
    return [int(hit.record_id[1:]) for hit in hits]


@pytest.mark.parametrize("asked", [["text"], ["image"], ["sound"], ["image", "text"], [*DIMS]])
@pytest.mark.parametrize("name", ["joint", "gated", "chain"])
def test_a_record_is_found_by_what_it_has(run, name, asked):
    """Asked with everything it has, a record finds itself with cosine 1, through any model."""
    matrices, _ = features()
    there = np.all([np.isfinite(matrices[n]).all(axis=1) == (n in asked) for n in DIMS], axis=0)
    row = int(np.flatnonzero(there)[0]) if there.any() else None
    if row is None:
        pytest.skip("no record has just these")
    hits = Searcher(run, name).search({n: matrices[n][row] for n in asked}, k=3)
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert row in numbers(hits)


def test_a_text_finds_records_that_have_only_an_image_or_a_sound(run):
    """The point of a coordinated space: the nearest latents are found across modalities."""
    matrices, code = features()
    searcher = Searcher(run, "joint")
    lacking = np.isnan(matrices["text"]).any(axis=1)
    found, others = [], []
    for row in np.flatnonzero(~lacking)[:40]:
        hits = numbers(searcher.search({"text": matrices["text"][row]}, k=10))
        there = np.flatnonzero(np.any([np.isfinite(m).all(axis=1) for m in matrices.values()], 0))
        unit = code / np.linalg.norm(code, axis=1, keepdims=True)
        best = there[np.argsort(-(unit[there] @ unit[row]))][:60]
        found.append(np.isin(hits, best).mean())
        others.append(lacking[hits].mean())
    assert np.mean(found) > 0.8
    assert np.mean(others) > 0.5 * lacking.mean()


@pytest.mark.parametrize("weights", [{"text": 2.0}, {"image": -0.5}, {"image": 0.1, "text": 3.0}])
def test_a_weighted_query_of_a_coordinated_space_is_the_mean_of_its_cosines(run, weights):
    matrices, _ = features()
    searcher = Searcher(run, "joint")
    query = {name: matrices[name][0] for name in ("image", "text")}
    scores = {}
    for name, vector in query.items():
        alone = searcher.search({name: vector}, k=N)
        scores[name] = {hit.record_id: hit.score for hit in alone}
    w = {name: weights.get(name, 1.0) for name in query}
    total = sum(abs(v) for v in w.values())
    for hit in searcher.search(query, weights=weights, k=20):
        expected = sum(w[n] * scores[n][hit.record_id] for n in query) / total
        assert hit.score == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("where", [None, "price < 0.3"])
@pytest.mark.parametrize("weights", [{"text": 2.0}, {"sound": -1.0}])
def test_a_weighted_query_of_another_fusion_is_ranked_feature_by_feature(run, weights, where):
    matrices, _ = features()
    query = {name: matrices[name][0] for name in DIMS}
    w = {name: weights.get(name, 1.0) for name in query}
    expected, positive = np.zeros(N), np.zeros(N, bool)
    price = np.random.default_rng(1).random(N)
    for name, vector in query.items():
        x = matrices[name].astype(np.float64)
        cosine = x @ vector / np.linalg.norm(x, axis=1)
        cosine[(price >= 0.3) if where else np.zeros(N, bool)] = np.nan
        order = np.argsort(-np.where(np.isfinite(cosine), cosine, -np.inf))
        order = order[: min(200, int(np.isfinite(cosine).sum()))]
        expected[order] += w[name] * 61 / (61 + np.arange(len(order)))
        positive[order] |= w[name] > 0
    expected /= sum(abs(v) for v in w.values())
    hits = Searcher(run, "gated").search(query, weights=weights, where=where, k=15)
    best = np.sort(expected[positive])[::-1][:15]
    np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-9)
    np.testing.assert_allclose(expected[numbers(hits)], best, atol=1e-9)
    assert where is None or all(hit.metadata["price"] < 0.3 for hit in hits)


def test_equal_weights_are_no_weights(run):
    matrices, _ = features()
    query = {name: matrices[name][0] for name in DIMS}
    searcher = Searcher(run, "gated")
    assert searcher.search(query) == searcher.search(query, weights=dict.fromkeys(DIMS, 3.0))


@pytest.mark.parametrize("name", ["joint", "gated"])
def test_a_stored_record_asks_alone_and_together_with_a_vector(run, name):
    matrices, _ = features()
    searcher = Searcher(run, name)
    alone = searcher.search(id="r000000", k=5)
    assert 0 not in numbers(alone)
    assert alone == searcher.search(id="r000000", weights={"id": 2.0}, k=5)
    both = searcher.search({"text": matrices["text"][3]}, id="r000000", k=5)
    assert 0 not in numbers(both)
    assert len(both) == 5


def test_only_unlike_is_refused_where_ranks_are_fused(run):
    matrices, _ = features()
    query = {"image": matrices["image"][0]}
    with pytest.raises(ConfigError, match="can't be asked by what is unlike alone"):
        Searcher(run, "gated").search(query, weights={"image": -1})
    assert Searcher(run, "joint").search(query, weights={"image": -1})[0].score > 0


def test_a_model_of_models_is_asked_by_their_features(run):
    assert Searcher(run, "chain").features == ["image", "sound", "text"]


# -- from media to media, on the command line

KINDS = {"image": {"name": "pixels", "size": 4}, "audio": {"name": "logmel-stats"}}
PER_THING, THINGS = 60, 5


def medium(kind, thing, rng):
    """A file's bytes: each thing has its own colour and its own pitch."""
    if kind == "audio":
        return tone(150 * 2**thing, rng)
    hue = np.array(Image.new("HSV", (1, 1), (thing * 255 // THINGS, 200, 200)).convert("RGB"))
    pixels = np.clip(hue + rng.normal(0, 8, (32, 32, 3)), 0, 255).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def media_run(tmp_path_factory):
    """Of each thing a third of the records has both, a third the image alone, a third the sound."""
    folder = tmp_path_factory.mktemp("media")
    config = RunConfig.model_validate({
        "source": {"path": "x.csv"},
        "modalities": {kind: {"kind": kind, "encoder": encoder}
                       for kind, encoder in KINDS.items()},
        "output": str(folder),
        "models": {"space": {"name": "cca", "dim": THINGS - 1, "ridge": 1.0}},
    })  # fmt: skip
    rng = np.random.default_rng(0)
    things = [i % THINGS for i in range(THINGS * PER_THING)]
    parts = [("both", "image", "audio")[i // THINGS % 3] for i in range(len(things))]
    matrices = {}
    for feature in config.features():
        kind, encoder = feature.name, encoders.build(feature.encoder)
        items = [decode(medium(kind, thing, rng), kind, Limits()) for thing in things]
        matrices[kind] = encoder.encode(encoder.prepare(items)).astype("f4")
        matrices[kind][[part not in ("both", kind) for part in parts]] = np.nan
    write_learned(folder, config, matrices, {"thing": things, "has": parts})
    return folder


@pytest.mark.parametrize(("asked", "found"), [("image", "audio"), ("audio", "image")])
def test_a_picture_finds_sounds_and_a_sound_pictures(media_run, tmp_path, asked, found):
    """Records that have nothing of the kind that is asked with, through `search --index`."""
    rng = np.random.default_rng(1)
    for thing in range(THINGS):
        file = tmp_path / "query"
        file.write_bytes(medium(asked, thing, rng))
        arguments = [f"--{asked}", str(file), "--index", "space", "--where", f"has = '{found}'"]
        result = CliRunner().invoke(
            app, ["search", str(media_run), *arguments, "-k", "5", "--json"]
        )
        assert result.exit_code == 0, result.output
        hits = json.loads(result.output)
        assert [hit["metadata"]["thing"] for hit in hits] == [thing] * 5
