"""Indexes on disk: recall recomputed with numpy, filters, ids over versions, damage, memory caps."""

import gzip
import json
import pickle

import faiss
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from stored import index, write_run

from pipeline.errors import PolyfuseError, Refused
from pipeline.index import build, engine, ladder, manifests, shards
from pipeline.index.opening import open_index
from pipeline.index.recall import ExactNeighbours, K

pytestmark = pytest.mark.usefixtures("own_cache")
D = 32
N = 20_000


@pytest.fixture(autouse=True)
def codes_of_short_vectors(monkeypatch):
    """So that graphs of codes are tried on vectors that are quickly linked."""
    monkeypatch.setattr(ladder, "_WORTH_CODES", 1)


def clustered(count, dim, seed=0):
    """Gaussian clusters: more like embeddings than one Gaussian, and harder for quantisers."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(200, dim))
    return (centres[rng.integers(0, 200, count)] + 0.6 * rng.normal(size=(count, dim))).astype("f4")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """20k vectors, 1 % absent, in five parts, with a column for filters."""
    rng = np.random.default_rng(1)
    vectors = clustered(N, D)
    vectors[rng.choice(N, N // 100, replace=False)] = np.nan
    run = tmp_path_factory.mktemp("stored")
    return run, vectors, write_run(run, {"v": vectors}, {"u": rng.random(N).tolist()})


def kth_best(vectors, queries, k, metric, mask=None):
    """The k-th best true score of each query, by numpy in float64."""
    x = vectors.astype(np.float64) if mask is None else vectors[mask].astype(np.float64)
    x = x[np.isfinite(x).all(axis=1)]
    q = queries.astype(np.float64)
    if metric == "l2":
        scores = -np.sqrt(((q[:, None] - x[None]) ** 2).sum(-1))
    else:
        if metric == "cosine":
            x, q = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (x, q))
        scores = q @ x.T
    return np.sort(scores, axis=1)[:, -min(k, len(x)) :][:, :1]


def recall(scores, kth):
    return (scores >= kth - 1e-5 * np.maximum(1, np.abs(kth))).mean()


CAPS = {
    "HNSW24_SQ8,RFlat": 10**9,
    "HNSW24": 7_200_000,
    "HNSW8": 4_400_000,
    "IVF256,Flat": 3_000_000,
    "IVF128,SQ8": 1_000_000,
    "IVF64,PQ16": 600_000,
}


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("kind", CAPS)
def test_every_type_under_its_cap_finds_the_true_neighbours(stored, tmp_path, kind, metric, capfd):
    run, vectors, snapshot = stored
    version = index(snapshot, "v", metric=metric, memory=CAPS[kind])
    opened = open_index(run, "v")
    manifest = json.loads((version / "manifest.json").read_text())
    assert opened.manifest.type == kind
    size = (version / "index.faiss").stat().st_size
    assert size <= CAPS[kind]
    assert manifest["memory"]["estimate"] == pytest.approx(size, rel=0.15)
    assert manifest["counts"] == {"rows": N, "indexed": N - N // 100, "next_id": N}
    assert "WARNING" not in "".join(capfd.readouterr())

    queries = clustered(300, D, seed=0)[-100:] + 0.05
    scores, ids = opened.engine.search(queries, 10)
    measured = recall(scores, kth_best(vectors, queries, 10, metric))
    assert measured >= (0.97 if manifest["recall"]["value"] >= 0.99 else 0.9)
    if metric == "cosine":
        assert manifest["recall"]["value"] >= 0.99
    assert (np.diff(scores, axis=1) <= 0).all()
    assert np.isfinite(vectors[ids]).all(), "an absent record was returned"


@pytest.mark.parametrize("kind", ["HNSW24_SQ8,RFlat", "HNSW24", "IVF256,Flat", "IVF128,SQ8"])
@pytest.mark.parametrize("scan", ["as usual", "only below a share of 5 %"])
def test_filters_are_never_short_and_lose_no_recall(stored, kind, scan, monkeypatch):
    run, vectors, snapshot = stored
    if scan != "as usual":  # so that the selectors are walked with, as in runs of millions
        monkeypatch.setattr(engine, "_SCAN_VALUES", 0)
    index(snapshot, "v", memory=CAPS[kind])
    opened = open_index(run, "v")
    u = np.concatenate([pq.read_table(p.path)["u"] for p in snapshot.parts("records")])
    queries = clustered(200, D)[-50:] + 0.1
    for share in (0.5, 0.1, 0.01, 0.001, 0.0002):
        mask = u < share
        allowed = opened.rows.matching(pc.field("u") < share)
        assert np.array_equal(allowed, mask)
        scores, ids = opened.engine.search(queries, 10, allowed)
        matches = (mask & np.isfinite(vectors).all(axis=1)).sum()
        assert ids.shape == (50, min(10, matches))
        assert (ids >= 0).all()
        assert mask[ids].all()
        assert recall(scores, kth_best(vectors, queries, 10, "cosine", mask)) >= 0.99


@pytest.mark.parametrize(("lost", "least", "most"), [(0.011, 0, 0.05), (0.002, 0.95, 1)])
def test_a_setting_is_safe_where_other_queries_reach_the_target(lost, least, most):
    """Queries that find all or nothing: true recall is 1 - lost, on either side of 0.99."""
    random = np.random.default_rng(0)
    exact = ExactNeighbours(np.zeros((2000, 1), np.float32), K, faiss.METRIC_L2)
    exact.merge(np.zeros((2000, K), np.float32))
    calibrations = [
        exact.recall(np.repeat(random.random((2000, 1)) < lost, K, axis=1)).safe for _ in range(400)
    ]
    assert least <= np.mean(calibrations) <= most


def test_more_results_than_entries_gives_every_entry_once(stored):
    run, vectors, snapshot = stored
    index(snapshot, "v")
    opened = open_index(run, "v")
    _, ids = opened.engine.search(vectors[np.isfinite(vectors).all(axis=1)][:1], N)
    assert np.array_equal(np.sort(ids[0]), np.flatnonzero(np.isfinite(vectors).all(axis=1)))


def test_recall_on_real_pixels(data, tmp_path):
    with gzip.open(data / "mnist" / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 784 * 12_000), np.uint8, offset=16).reshape(-1, 784)
    vectors = pixels.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196).astype("f4")
    snapshot = write_run(tmp_path, {"v": vectors[:11_900]})
    index(snapshot, "v", metric="l2")
    opened = open_index(tmp_path, "v")
    assert opened.manifest.type == "HNSW24_SQ8,RFlat"
    assert opened.manifest.recall["value"] >= 0.99
    assert opened.manifest.recall["queries"] == 595  # a twentieth
    queries = vectors[11_900:]
    scores, _ = opened.engine.search(queries, 10)
    assert recall(scores, kth_best(vectors[:11_900], queries, 10, "l2")) >= 0.98


@pytest.mark.parametrize(("kind", "queries"), [("HNSW24_SQ8,RFlat", 900), ("IVF256,Flat", 100)])
def test_a_graph_is_measured_with_more_queries(stored, monkeypatch, kind, queries):
    run, _, snapshot = stored
    monkeypatch.setattr(build, "_QUERIES", 100)
    monkeypatch.setattr(build, "_OF_GRAPH", 900)
    index(snapshot, "v", memory=CAPS[kind])
    opened = open_index(run, "v")
    assert (opened.manifest.type, opened.manifest.recall["queries"]) == (kind, queries)
    assert len(opened.engine.ids) == N - N // 100, "the queries are there afterwards"


def test_codes_that_tell_neighbours_too_little_are_not_used(tmp_path):
    """One huge number in each dimension stretches what 8 bits span: all others get the same code."""
    vectors = clustered(12_000, D)
    vectors[np.arange(D), np.arange(D)] = 1e5
    snapshot = write_run(tmp_path, {"v": vectors})
    index(snapshot, "v", metric="l2")
    opened = open_index(tmp_path, "v")
    assert opened.manifest.type == "HNSW24"
    queries = clustered(12_200, D)[-200:] + 0.05
    scores, _ = opened.engine.search(queries, 10)
    assert recall(scores, kth_best(vectors, queries, 10, "l2")) >= 0.97


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_scores_of_a_graph_of_codes_are_those_of_whole_vectors(stored, metric):
    run, vectors, snapshot = stored
    index(snapshot, "v", metric=metric)
    opened = open_index(run, "v")
    assert opened.manifest.type == "HNSW24_SQ8,RFlat"
    queries = clustered(50, D) + 0.05
    scores, ids = opened.engine.search(queries, 10)
    for query, own, found in zip(queries.astype(float), scores, ids, strict=True):
        true = vectors[found].astype(float)
        expected = {
            "cosine": true @ query / np.linalg.norm(true, axis=1) / np.linalg.norm(query),
            "ip": true @ query,
            "l2": -np.linalg.norm(true - query, axis=1),
        }[metric]
        np.testing.assert_allclose(own, expected, rtol=1e-4)


def test_same_parts_give_the_same_bytes(stored, tmp_path):
    _, _, snapshot = stored
    first, second = index(snapshot, "v"), index(snapshot, "v")
    assert first.name < second.name
    for name in manifests.FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("kind", ["IVF256,Flat", "IVF128,SQ8", "IVF64,PQ16"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_lists_that_others_fill_are_the_same(stored, kind, metric):
    _, _, snapshot = stored
    shares = []

    def elsewhere(calls):
        for call in calls:
            sent = pickle.loads(pickle.dumps(call))
            shares.append(len(sent[1].ids))
            yield pickle.loads(pickle.dumps(shards.fill(*sent)))

    alone = index(snapshot, "v", metric=metric, memory=CAPS[kind])
    helped = index(
        snapshot, "v", metric=metric, memory=CAPS[kind], helpers=shards.Helpers(1, elsewhere)
    )
    assert shares == [8192, 8192, N - 16_384]  # whole parts, at least a quarter for one worker
    for name in (*manifests.FILES, "manifest.json"):
        assert (alone / name).read_bytes() == (helped / name).read_bytes()


def test_records_keep_their_ids_when_others_come_and_go(tmp_path):
    vectors = clustered(300, 8)
    ids = [f"a{i}" for i in range(300)]
    order = [*range(250, 300), *range(100, 250)]  # 0-99 leave; later: 250-299 come first
    index(write_run(tmp_path, {"v": vectors[:250]}, ids=ids[:250], shard=100), "v")
    before = rows(tmp_path)
    index(write_run(tmp_path, {"v": vectors[order]}, ids=[ids[i] for i in order], shard=90), "v")
    after = rows(tmp_path)
    assert before == {record: i for i, record in enumerate(ids[:250])}
    assert all(after[record] == before[record] for record in ids[100:250])
    assert sorted(after[record] for record in ids[250:]) == list(range(250, 300))
    opened = open_index(tmp_path, "v")
    for i in (260, 120):
        _, found = opened.engine.search(vectors[i : i + 1], 1)
        assert next(opened.rows.describe(found[0]))[0] == ids[i]
    assert build.verify_index(tmp_path, "v") == []
    # Somebody who left and comes back is somebody new: a retired id is never given again.
    index(write_run(tmp_path, {"v": vectors[:300]}, ids=ids, shard=100), "v")
    assert sorted(rows(tmp_path)[record] for record in ids[:100]) == list(range(300, 400))


def rows(run):
    opened = open_index(run, "v")
    return dict(zip(opened.rows.record_ids.to_pylist(), opened.rows.ids.tolist(), strict=True))


def test_rows_say_which_record_every_id_is(tmp_path):
    vectors = clustered(30, 8)
    vectors[4] = np.nan
    vectors[5] = 0
    metadata = {"id": [f"own{i}" for i in range(30)], "row": list(range(30, 60))}
    version = index(write_run(tmp_path, {"v": vectors}, metadata, shard=20), "v")
    table = pq.read_table(version / "rows.parquet").to_pylist()
    assert table[25]["id"] == 25
    assert table[25]["record_id"] == "r000025"
    assert (table[25]["part"], table[25]["row"]) == (1, 5)
    assert table[25]["metadata"] == {"id": "own25", "row": 55}, "source columns keep their names"
    assert [row["id"] for row in table if not row["indexed"]] == [4, 5]
    assert pq.read_schema(version / "rows.parquet").metadata[b"format"] == b"1"


@pytest.mark.parametrize("name", manifests.FILES)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_refused_before_it_is_parsed(tmp_path, name, damage):
    version = index(write_run(tmp_path, {"v": clustered(300, 8)}), "v")
    open_index(tmp_path, "v")  # leaves the note that it was checked
    path = version / name
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    elif damage == "cut":
        path.write_bytes(raw[:-100])
    else:
        path.unlink()
    with pytest.raises(Refused, match=f"{name} is (damaged|missing).*polyfuse index"):
        open_index(tmp_path, "v")
    assert build.verify_index(tmp_path, "v") != []
    index(write_run(tmp_path, {"v": clustered(300, 8)}), "v")
    open_index(tmp_path, "v")


def test_bytes_changed_behind_size_and_time_are_seen_by_verify(tmp_path):
    import os

    version = index(write_run(tmp_path, {"v": clustered(300, 8)}), "v")
    open_index(tmp_path, "v")
    path = version / "index.faiss"
    stat, raw = path.stat(), bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(raw)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    open_index(tmp_path, "v")  # the note matches: this is what makes a mapped start instant
    assert "damaged" in build.verify_index(tmp_path, "v")[0]


def test_too_little_memory_says_how_much_is_needed(stored):
    _, _, snapshot = stored
    with pytest.raises(PolyfuseError, match=r"index\.memory is 1000 bytes.*need at least \d+"):
        index(snapshot, "v", memory=1000)


def test_the_ladder_trains_on_enough_points_and_falls_with_memory():
    for count in (0, 1, 38, 39, 500, 9_999, 10_000, 300_000, 5_000_000, 50_000_000):
        for dim in (1, 7, 32, 512):
            for memory in (10**5, 10**7, 10**9, 10**12):
                rungs = ladder.ladder(count, dim, memory, trainable=count)
                assert rungs
                for rung in rungs:
                    assert rung.train <= count
                    assert rung.train >= 39 * rung.lists
                    assert "PQ" not in rung.factory or rung.train >= 39 * 256


@pytest.mark.parametrize("count", [0, 1, 5, 30])
def test_tiny_runs(tmp_path, count):
    vectors = clustered(30, 8)
    vectors[count:] = np.nan
    index(write_run(tmp_path, {"v": vectors}), "v")
    opened = open_index(tmp_path, "v")
    scores, ids = opened.engine.search(clustered(2, 8), 10)
    assert scores.shape == ids.shape == (2, min(10, count))


def test_sequences_are_indexed_by_their_mean(tmp_path):
    rng = np.random.default_rng(0)
    lists = [rng.normal(size=(1 + i % 4, 8)).astype("f4") if i % 7 else None for i in range(60)]
    index(write_run(tmp_path, {}, sequences={"clip": lists}, shard=25), "clip", metric="ip")
    opened = open_index(tmp_path, "clip")
    wanted = [i for i in range(60) if i % 7]
    means = np.stack([lists[i].mean(axis=0) for i in wanted])
    np.testing.assert_allclose(opened.engine.vectors(np.array(wanted)), means, atol=1e-6)


@pytest.mark.parametrize("kind", CAPS)
def test_vectors_come_back_as_stored(stored, kind):
    run, vectors, snapshot = stored
    index(snapshot, "v", metric="ip", memory=CAPS[kind])
    opened = open_index(run, "v")
    ids = np.random.default_rng(0).permutation(opened.engine.ids)[:200]
    np.testing.assert_array_equal(opened.engine.vectors(ids), vectors[ids])


def test_parts_that_do_not_pair_up_are_refused(tmp_path):
    snapshot = write_run(tmp_path, {"v": clustered(300, 8)}, shard=100)
    with pytest.raises(PolyfuseError, match="2 parts are not row for row"):
        build.build_index(
            "v",
            snapshot.parts("features/v")[:2],
            snapshot.parts("records"),
            tmp_path / "index" / "v",
            metric="cosine",
            memory=10**9,
            snapshot=snapshot,
            identities={},
            threads=1,
        )
    assert list((tmp_path / "index").glob("v/*")) == []


def test_a_record_id_that_occurs_twice_is_refused(tmp_path):
    ids = ["a", "b", "a"]
    with pytest.raises(PolyfuseError, match="'a' occurs more than once"):
        index(write_run(tmp_path, {"v": clustered(3, 8)}, ids=ids), "v")


def test_a_filter_over_an_unknown_column_names_the_known_ones(tmp_path):
    index(write_run(tmp_path, {"v": clustered(3, 8)}, {"price": [1, 2, 3]}), "v")
    with pytest.raises(PolyfuseError, match="record_id, outcome, price"):
        open_index(tmp_path, "v").rows.matching(pc.field("prize") > 1)


def test_faiss_settings_never_leak_between_calls(stored):
    run, _, snapshot = stored
    index(snapshot, "v")
    opened = open_index(run, "v")
    query = clustered(1, D) + 0.1
    before = opened.engine.search(query, 10)
    opened.engine.search(query, 10, np.arange(N) < 5000, {"efSearch": 1})
    for a, b in zip(before, opened.engine.search(query, 10), strict=True):
        assert np.array_equal(a, b)
