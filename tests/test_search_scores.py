"""Scores of a search: every formula recomputed with numpy from the stored vectors."""

from contextlib import nullcontext

import numpy as np
import pytest
from stored import index_all, save_config, write_run

from pipeline.errors import ConfigError
from pipeline.search.searcher import Searcher

pytestmark = pytest.mark.usefixtures("own_cache")
N = 3000

DIMS = {"a": 8, "b": 12, "c": 6}


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
    with pytest.raises(ConfigError, match="positive sum") if metric == "l2" else nullcontext():
        Searcher(tmp_path, "a").search({"a": query}, weights={"a": -1})


@pytest.mark.parametrize("where", [None, "price < 0.5", "price < 0.001"])
def test_many_vectors_at_once_equal_one_by_one(stored, where):
    run, _, _ = stored
    searcher = Searcher(run, "a")
    queries = np.random.default_rng(4).normal(size=(20, 8)).astype("f4")
    ids, scores = searcher.search_many(queries, k=7, where=where)
    assert scores.shape == (20, len(ids[0]))
    for i, query in enumerate(queries):
        hits = searcher.search({"a": query}, k=7, where=where)
        np.testing.assert_allclose(scores[i], [hit.score for hit in hits], atol=1e-6)
        assert ids[i] == [hit.record_id for hit in hits]


def test_metadata_comes_along_under_its_own_names(stored):
    run, features, price = stored
    i = int(np.flatnonzero(np.isfinite(features["a"][:, 0]))[50])
    hit = Searcher(run).search({"a": features["a"][i]}, where=f'id == "own{i}"')[0]
    assert (hit.record_id, hit.metadata) == (f"r{i:06d}", {"id": f"own{i}", "price": price[i]})
