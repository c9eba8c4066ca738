"""Queries of small stored runs: real encoders, every formula recomputed with numpy."""

import io

import numpy as np
import pytest
import yaml
from corpus import picture, tone
from PIL import Image
from stored import index_all, save_config, write_run

import encoders
from encoders.media import Limits, decode
from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.search.searcher import Searcher

N = 3000
MODALITIES = {
    "image": {"kind": "image", "encoder": {"name": "pixels", "size": 4}},
    "text": {"kind": "text", "encoder": {"name": "hashed-ngrams"}},
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def vector_run(run, dims, count=N, seed=0, weights=None, missing=0.3, **options):
    """Vector modalities, each absent in a share of the records; returns the matrices."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(count, 4))
    features = {
        name: (centre @ rng.normal(size=(4, dim)) + 0.5 * rng.normal(size=(count, dim))).astype(
            "f4"
        )
        for name, dim in dims.items()
    }
    for matrix in features.values():
        matrix[rng.random(count) < missing] = np.nan
    modalities = {
        name: {"kind": "vector", "encoder": {"name": "as-is", "dim": dim}}
        for name, dim in dims.items()
    }
    saved = save_config(run, modalities, weights=weights)
    metadata = {"price": rng.random(count).tolist(), "id": [f"own{i}" for i in range(count)]}
    snapshot = write_run(run, features, metadata, concat=True, weights=weights, shard=1000)
    index_all(snapshot, saved, **options)
    return features, np.array(metadata["price"])


DIMS = {"a": 8, "b": 12, "c": 6}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    run = tmp_path_factory.mktemp("vectors")
    return run, *vector_run(run, DIMS)


def reference(features, terms, blocks=None):
    """The documented score of every record, NaN where it has none of the features. float64."""
    count = len(next(iter(features.values())))
    total, weight = np.zeros(count), np.zeros(count)
    for name, vector, w in terms:
        x = features[name].astype(np.float64)
        cosine = x @ vector / np.linalg.norm(x, axis=1) / np.linalg.norm(vector)
        has = np.isfinite(x).all(axis=1)
        share = (blocks or {}).get(name, 1.0)
        total += np.where(has, w * share * cosine, 0)
        weight += np.where(has, abs(w) * share, 0)
    with np.errstate(invalid="ignore"):
        return total / weight


def check(hits, scores, k=10):
    """The hits are the k best by the reference, ties aside."""
    best = np.sort(scores[np.isfinite(scores)])[::-1][:k]
    assert [hit.rank for hit in hits] == list(range(1, len(best) + 1))
    np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-5)
    for hit in hits:
        assert scores[int(hit.record_id[1:])] == pytest.approx(hit.score, abs=1e-5)


QUERIES = {
    "one": {"a": 1.0},
    "two": {"a": 1.0, "b": 1.0},
    "uneven": {"a": 0.2, "b": 3.0, "c": 1.0},
    "unlike": {"a": 1.0, "c": -0.5},
    "only unlike": {"b": -1.0},
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("where", [None, "price < 0.1", "price < 0.003"])
def test_fused_scores_are_the_weighted_mean_over_shared_modalities(stored, name, where):
    run, features, price = stored
    rng = np.random.default_rng(3)
    weights = QUERIES[name]
    query = {n: rng.normal(size=DIMS[n]).astype("f4") for n in weights}
    scores = reference(features, [(n, query[n], w) for n, w in weights.items()])
    if where:
        scores[price >= float(where.split()[-1])] = np.nan
    check(Searcher(run).search(query, weights=weights, where=where), scores)


def test_the_models_own_weights_count(tmp_path):
    own = {"a": 3.0, "b": 1.0, "c": 0.5}
    features, _ = vector_run(tmp_path, DIMS, weights=own)
    rng = np.random.default_rng(3)
    query = {n: rng.normal(size=DIMS[n]).astype("f4") for n in ("a", "b")}
    scores = reference(features, [("a", query["a"], 1.0), ("b", query["b"], 2.0)], own)
    check(Searcher(tmp_path).search(query, weights={"b": 2.0}), scores)


@pytest.mark.parametrize("memory", [10**9, 800_000])
def test_what_else_a_record_has_changes_nothing_for_an_image_query(tmp_path, memory):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(11_000, 8)).astype("f4")
    a[1::2] = a[::2]  # each image twice: alone, and with a text
    b = rng.normal(size=(11_000, 12)).astype("f4")
    b[::2] = np.nan
    modalities = {
        n: {"kind": "vector", "encoder": {"name": "as-is", "dim": d}}
        for n, d in [("a", 8), ("b", 12)]
    }
    saved = save_config(tmp_path, modalities)
    index_all(write_run(tmp_path, {"a": a, "b": b}, concat=True), saved, memory=memory)
    hits = Searcher(tmp_path).search({"a": a[40]}, k=20)
    assert {hit.record_id for hit in hits[:2]} == {"r000040", "r000041"}
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    scores = [hit.score for hit in hits]
    np.testing.assert_allclose(scores[::2], scores[1::2], atol=1e-6)


@pytest.mark.parametrize("index", ["concat", "a"])
def test_weights_one_and_zero_are_the_single_query_bit_for_bit(stored, index):
    run, features, _ = stored
    searcher = Searcher(run, index)
    single = searcher.search({"a": features["a"][5]})
    if index == "concat":
        both = {"b": features["b"][6], "a": features["a"][5]}
        assert searcher.search(both, weights={"a": 1, "b": 0}) == single
        assert searcher.search(dict(reversed(both.items())), weights={"a": 7, "b": 0}) == single
    assert searcher.search({"a": features["a"][5]}, id="r000010", weights={"id": 0})[0].rank == 1


def test_order_of_terms_changes_nothing(stored):
    run, _, _ = stored
    rng = np.random.default_rng(5)
    query = {n: rng.normal(size=d).astype("f4") for n, d in DIMS.items()}
    first = Searcher(run).search(query)
    second = Searcher(run).search(dict(reversed(query.items())))
    assert [h.record_id for h in first] == [h.record_id for h in second]
    np.testing.assert_allclose([h.score for h in first], [h.score for h in second], atol=1e-9)


def test_a_stored_record_is_a_query_and_not_its_own_result(stored):
    run, features, _ = stored
    record = int(
        np.flatnonzero(np.isfinite(features["a"][:, 0]) & np.isnan(features["b"][:, 0]))[3]
    )
    has = [n for n in DIMS if np.isfinite(features[n][record]).all()]
    scores = reference(features, [(n, features[n][record], 1.0) for n in has])
    scores[record] = np.nan
    check(Searcher(run).search(id=f"r{record:06d}"), scores)
    single = reference(features, [("a", features["a"][record], 1.0)])
    single[record] = np.nan
    check(Searcher(run, "a").search(id=f"r{record:06d}"), single)


def test_a_record_and_a_vector_mix(stored):
    run, features, _ = stored
    record = int(np.flatnonzero(np.isfinite(features["a"][:, 0]))[3])
    other = np.random.default_rng(9).normal(size=8).astype("f4")
    ours = features["a"][record] / np.linalg.norm(features["a"][record])
    mix = 2 * ours - other / np.linalg.norm(other)
    scores = reference(features, [("a", mix, 1.0)]) * np.linalg.norm(mix) / 3
    scores[record] = np.nan
    searcher = Searcher(run, "a")
    hits = searcher.search({"a": other}, id=f"r{record:06d}", weights={"id": 2, "a": -1})
    check(hits, scores)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_other_metrics_score_higher_for_nearer(tmp_path, metric):
    features, _ = vector_run(tmp_path, {"a": 8}, metric=metric)
    query = np.random.default_rng(2).normal(size=8).astype("f4")
    x = features["a"].astype(np.float64)
    scores = x @ query if metric == "ip" else -np.linalg.norm(x - query, axis=1)
    check(Searcher(tmp_path, "a").search({"a": query}), scores)
    with pytest.raises(ConfigError, match="positive sum") if metric == "l2" else does_not_raise():
        Searcher(tmp_path, "a").search({"a": query}, weights={"a": -1})


def does_not_raise():
    import contextlib

    return contextlib.nullcontext()


def test_many_vectors_at_once_equal_one_by_one(stored):
    run, _, _ = stored
    searcher = Searcher(run, "a")
    queries = np.random.default_rng(4).normal(size=(20, 8)).astype("f4")
    ids, scores = searcher.search_many(queries, k=7, where="price < 0.5")
    assert scores.shape == (20, 7)
    for i, query in enumerate(queries):
        hits = searcher.search({"a": query}, k=7, where="price < 0.5")
        np.testing.assert_allclose(scores[i], [hit.score for hit in hits], atol=1e-6)
        assert ids[i] == [hit.record_id for hit in hits]


def test_metadata_comes_along_under_its_own_names(stored):
    run, features, price = stored
    i = int(np.flatnonzero(np.isfinite(features["a"][:, 0]))[50])
    hit = Searcher(run).search({"a": features["a"][i]}, where=f'id == "own{i}"')[0]
    assert (hit.record_id, hit.metadata) == (f"r{i:06d}", {"id": f"own{i}", "price": price[i]})


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Sixty pictures and texts through real encoders; every fourth has no text."""
    run = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    pictures = [picture(rng) for _ in range(60)]
    colours = ["red", "green", "blue", "grey", "black"]
    texts = [f"a {colours[i % 5]} thing called {i}" for i in range(60)]
    saved = save_config(run, MODALITIES)
    items = {"image": [decode(raw, "image", Limits()) for raw in pictures], "text": texts}
    features = {}
    for feature in saved.config.features():
        encoder = encoders.build(feature.encoder)
        features[feature.name] = encoder.encode(encoder.prepare(items[feature.name])).astype("f4")
    features["text"][::4] = np.nan
    index_all(write_run(run, features, {"n": list(range(60))}, concat=True), saved)
    return run, pictures, texts


def test_an_image_finds_its_record_by_path_bytes_kind_and_name(media, tmp_path):
    run, pictures, _ = media
    (tmp_path / "q.png").write_bytes(pictures[13])
    searcher = Searcher(run)
    for value in (pictures[13], tmp_path / "q.png", str(tmp_path / "q.png")):
        hit = searcher.search({"image": value}, k=1)[0]
        assert (hit.record_id, hit.metadata) == ("r000013", {"n": 13})
        assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert Searcher(run, "image").search({"image": pictures[13]}, k=1)[0].record_id == "r000013"


def test_text_finds_its_record_alone_and_with_an_image(media):
    run, pictures, texts = media
    assert Searcher(run).search({"text": texts[13]}, k=1)[0].record_id == "r000013"
    query = {"text": texts[13], "image": pictures[14]}
    both, text, image = (
        {hit.record_id: hit.score for hit in Searcher(run).search(asked, k=60)}
        for asked in (query, {"text": query["text"]}, {"image": query["image"]})
    )
    assert set(both) == set(image) > set(text)
    for record, score in both.items():
        parts = [scores[record] for scores in (text, image) if record in scores]
        assert score == pytest.approx(np.mean(parts), abs=1e-6)


def test_a_query_by_what_a_record_lacks_never_returns_it(media):
    run, _, texts = media
    hits = Searcher(run).search({"text": texts[1]}, k=60)
    assert len(hits) == 45
    assert not {hit.metadata["n"] for hit in hits} & set(range(0, 60, 4))


def test_video_streams_answer_for_image_and_audio(tmp_path):
    pixels = {"encoder": {"name": "pixels", "size": 4}}
    saved = save_config(tmp_path, {"clip": {"kind": "video", "frames": pixels, "sound": {}}})
    rng = np.random.default_rng(0)
    pictures, sounds = [picture(rng) for _ in range(8)], [tone(200 + 90 * i, rng) for i in range(8)]
    features = {}
    for feature in saved.config.features():
        encoder = encoders.build(feature.encoder)
        kind, raws = ("image", pictures) if feature.stream == "frames" else ("audio", sounds)
        items = [decode(raw, kind, Limits()) for raw in raws]
        features[feature.name] = encoder.encode(encoder.prepare(items)).astype("f4")
    index_all(write_run(tmp_path, features, concat=True), saved)
    searcher = Searcher(tmp_path)
    assert searcher.search({"image": pictures[3]}, k=1)[0].record_id == "r000003"
    assert searcher.search({"audio": sounds[5]}, k=1)[0].record_id == "r000005"
    assert searcher.search({"clip.frames": pictures[6]}, k=1)[0].record_id == "r000006"
    by_vector = searcher.search({"clip.sound": features["clip.sound"][2]}, k=1)
    assert by_vector[0].record_id == "r000002"
    with pytest.raises(ConfigError, match=r"Say clip\.frames or clip\.sound"):
        searcher.search({"clip": features["clip.sound"][2]})
    with pytest.raises(ConfigError, match="nothing of kind text"):
        searcher.search({"text": "x"})


def test_a_video_file_asks_by_its_frames_and_its_sound(tmp_path, data):
    files = sorted((data / "videos" / "files").glob("*.mp4"))[:4]
    pixels = {"every": 1.0, "max": 4, "encoder": {"name": "pixels", "size": 4}}
    saved = save_config(tmp_path, {"clip": {"kind": "video", "frames": pixels}})
    frames = saved.config.features()[0]
    encoder = encoders.build(frames.encoder)
    policy = saved.config.modalities["clip"].frame_policy
    rows = []
    for path in files:
        video = decode(path.read_bytes(), "video", Limits(), frames=policy, sound=False)
        rows.append(encoder.encode(encoder.prepare(video.frames)).mean(axis=0))
    index_all(write_run(tmp_path, {"clip.frames": np.stack(rows).astype("f4")}, concat=True), saved)
    for i, path in enumerate(files):
        hit = Searcher(tmp_path).search({"video": path}, k=1)[0]
        assert hit.score == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(rows[int(hit.record_id[1:])], rows[i], atol=1e-5)


def test_two_modalities_of_a_kind_must_be_named(tmp_path):
    text = {"kind": "text"}
    saved = save_config(tmp_path, {"title": text, "body": text})
    encoder = encoders.build(saved.config.features()[0].encoder)
    rows = encoder.encode(encoder.prepare(["one thing", "another", "third"])).astype("f4")
    snapshot = write_run(tmp_path, {"title": rows, "body": rows[::-1].copy()}, concat=True)
    index_all(snapshot, saved)
    with pytest.raises(ConfigError, match="text may mean title or body"):
        Searcher(tmp_path).search({"text": "one thing"})
    assert Searcher(tmp_path).search({"body": "one thing"}, k=1)[0].record_id == "r000002"


def copy_of(media, tmp_path):
    import shutil

    return shutil.copytree(media[0], tmp_path / "copy")


def test_another_encoder_is_refused_with_both_identities_shown(media, tmp_path):
    run = copy_of(media, tmp_path)
    saved = yaml.safe_load((run / "config.yaml").read_text())
    saved["config"]["modalities"]["image"]["encoder"]["size"] = 5  # the identities stay
    (run / "config.yaml").write_text(yaml.safe_dump(saved))
    with pytest.raises(Refused, match=r"(?s)image: the records.*dim: 48, now 75.*--model") as err:
        Searcher(run).search({"image": media[1][0]})
    assert err.value.exit_code == 4
    Searcher(run).search({"text": "red"})


def test_an_index_of_other_settings_is_refused(media, tmp_path):
    run = copy_of(media, tmp_path)
    save_config(run, MODALITIES | {"image": {"kind": "image"}})
    with pytest.raises(Refused, match=r"index concat: .* when it was built.*build it again"):
        Searcher(run)


def test_a_model_that_moved_is_found_by_its_identity(tmp_path, data):
    folders = [p.parent for p in sorted((data / "weights" / "hf").rglob("model.safetensors"))]
    for folder in folders:
        modality = {"kind": "text", "encoder": {"name": "transformers", "model": str(folder)}}
        try:
            saved = save_config(tmp_path, {"text": modality})
            encoder = encoders.build(saved.config.features()[0].encoder)
            texts = ["a red shoe", "a blue shirt", "two green cups"]
            rows = encoder.encode(encoder.prepare(texts)).astype("f4")
            break
        except Exception:  # not a text model
            continue
    else:
        pytest.skip("no text model among the test data")
    index_all(write_run(tmp_path, {"text": rows}, concat=True), saved)
    config = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace(str(folder), "/gone"))
    with pytest.raises(PolyfuseError, match="--model text=DIR"):
        Searcher(tmp_path).search({"text": texts[1]})
    hits = Searcher(tmp_path).search({"text": texts[1]}, models={"text": str(folder)}, k=1)
    assert hits[0].record_id == "r000001"


MISTAKES = [
    ({"query": {}}, "nothing to search by; give image, text or a record id"),
    ({"query": {"smell": "x"}}, "no modality 'smell'; there are: image, text"),
    ({"query": {"audio": b"x"}}, "nothing of kind audio"),
    ({"query": {"image": "/no/such.png"}}, "can't read the query's image /no/such.png"),
    ({"query": {"image": b"not a picture"}}, "the query's image is unusable"),
    ({"query": {"image": 7}}, "expected a path, bytes or a vector"),
    ({"query": {"text": 7}}, "expected text"),
    ({"query": {"image": np.ones(3)}}, r"expected a vector of shape \(48,\)"),
    ({"query": {"image": np.zeros(48)}}, "zero or not finite"),
    ({"query": {"text": "x"}, "weights": {"text": 0}}, "weight 0"),
    ({"query": {"text": "x"}, "weights": {"text": float("nan")}}, "expected a finite number"),
    ({"query": {"text": "x"}, "weights": {"image": 1}}, "the query has no image"),
    ({"query": {"text": "x"}, "k": 0}, "expected at least 1"),
    ({"query": {"text": "x"}, "where": "prize < 5"}, "prize"),
    ({"query": {"text": "x"}, "models": {"text": "/x"}}, "reads no files"),
    ({"id": "nobody"}, "no record 'nobody'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_sentences(media, arguments, message):
    with pytest.raises(PolyfuseError, match=message):
        Searcher(media[0]).search(arguments.pop("query", None), **arguments)


def test_an_index_of_one_feature_refuses_the_others(media):
    with pytest.raises(ConfigError, match="no part of this index, which compares image"):
        Searcher(media[0], "image").search({"text": "red"})
    with pytest.raises(
        PolyfuseError, match="has no index 'nothing'; there are: concat, image, text"
    ):
        Searcher(media[0], "nothing")
    with pytest.raises(PolyfuseError, match="'r000004' has nothing of text"):
        Searcher(media[0], "text").search(id="r000004")


def test_a_picture_in_another_format_is_still_the_same_picture(media):
    run, pictures, _ = media
    sink = io.BytesIO()
    Image.open(io.BytesIO(pictures[20])).save(sink, "BMP")
    assert Searcher(run).search({"image": sink.getvalue()}, k=1)[0].record_id == "r000020"
