"""Reading a run back: lazily, quickly, as a wide table that other tools read as arrays."""

import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from stored import index_all, save_config, write_run

from pipeline import Run, schemas
from pipeline.errors import PolyfuseError

N = 250


@pytest.fixture
def run(tmp_path, own_cache):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(N, 6)).astype("f4")
    image[::7] = np.nan
    frames = [rng.normal(size=(1 + i % 3, 4)).astype("f4") if i % 5 else None for i in range(N)]
    modalities = {
        "image": {"kind": "vector", "encoder": {"name": "as-is", "dim": 6}},
        "clip": {
            "kind": "video",
            "frames": {"pool": "sequence", "encoder": {"name": "pixels", "size": 4}},
        },
    }
    saved = save_config(tmp_path, modalities)
    metadata = {"image": [f"{i}.jpg" for i in range(N)], "price": rng.random(N).tolist()}
    features = {"image": image}
    snapshot = write_run(
        tmp_path, features, metadata, sequences={"clip.frames": frames}, concat=True, shard=100
    )
    return tmp_path, image, frames, saved, snapshot


def test_tables_are_lazy_datasets_of_the_snapshot(run):
    folder, image, frames, _, snapshot = run
    results = Run(folder)
    assert results.feature_names == ["clip.frames", "image"]
    assert results.model_names == ["concat"]
    stray = snapshot.parts("records")[0].path
    (stray.parent / "part-0000009-0000000000000000.parquet").write_bytes(stray.read_bytes())
    assert results.records().count_rows() == N
    table = results.features("image").to_table().to_pandas()
    assert table["vector"].isna().tolist() == np.isnan(image[:, 0]).tolist()
    np.testing.assert_array_equal(np.stack(table["vector"].dropna()), image[~np.isnan(image[:, 0])])
    assert results.fused().to_table().num_rows == N
    assert results.errors().to_table().schema == schemas.ERRORS
    some = results.features("clip.frames").head(3)["vector"].to_pylist()
    assert some[0] is None
    np.testing.assert_array_equal(np.array(some[1], "f4"), frames[1])


def test_vectors_come_as_one_matrix_with_nan_where_there_is_none(run):
    folder, image, frames, _, _ = run
    ids, matrix = Run(folder).vectors("image")
    assert ids[123] == "r000123"
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, image)
    _, pooled = Run(folder).vectors("clip.frames")
    for i in range(N):
        expected = np.full(4, np.nan) if frames[i] is None else frames[i].mean(axis=0)
        np.testing.assert_allclose(pooled[i], expected, atol=1e-6)
    with pytest.raises(PolyfuseError, match=r"no 'sound'; there are: clip\.frames, image, concat"):
        Run(folder).vectors("sound")


def test_reading_goes_on_with_the_old_snapshot_while_a_writer_publishes(run):
    folder, image, _, _, _ = run
    results = Run(folder)
    write_run(folder, {"image": image[:50]}, shard=100)
    assert len(results.vectors("image")[0]) == N
    assert len(Run(folder).vectors("image")[0]) == 50


def test_indexes_and_search(run):
    folder, image, _, saved, snapshot = run
    assert Run(folder).indexes() == []
    with pytest.raises(PolyfuseError, match="polyfuse index"):
        Run(folder).search({"image": image[1]})
    index_all(snapshot, saved)
    results = Run(folder)
    assert [entry["name"] for entry in results.indexes()] == ["clip.frames", "concat", "image"]
    entry = results.indexes()[2]
    assert (entry["type"], entry["metric"], entry["dim"]) == ("Flat", "cosine", 6)
    assert entry["counts"]["indexed"] == (~np.isnan(image[:, 0])).sum()
    assert entry["recall"]["value"] == 1.0
    hits = results.search({"image": image[1]}, index="image", k=3, where="price >= 0")
    assert hits[0].record_id == "r000001"
    assert hits[0].metadata["image"] == "1.jpg"
    assert results.searcher("image") is results.searcher("image")


def test_an_export_is_one_wide_table_that_others_read_as_arrays(run):
    folder, image, frames, _, _ = run
    out = Run(folder).export(folder / "deep" / "wide.parquet")
    assert [path.name for path in out.parent.iterdir()] == ["wide.parquet"]
    has = ~np.isnan(image[:, 0])

    table = pd.read_parquet(out)
    names = "record_id outcome present image price clip_frames_vector image_vector concat_vector"
    assert list(table.columns) == names.split()
    assert table["image"][7] == "7.jpg"
    np.testing.assert_array_equal(np.stack(table["image_vector"][has]), image[has])
    assert table["image_vector"][~has].isna().all()

    column = pl.read_parquet(out)["image_vector"]
    assert column.dtype == pl.List(pl.Float32)
    np.testing.assert_array_equal(np.array(column.drop_nulls().to_list(), "f4"), image[has])

    rows = duckdb.sql(f"select image_vector, clip_frames_vector from '{out}'").fetchall()
    assert [row[0] is not None for row in rows] == has.tolist()
    np.testing.assert_array_equal(np.array(rows[2][0], "f4"), image[2])
    np.testing.assert_array_equal(np.array(rows[2][1], "f4"), frames[2])
    lengths = duckdb.sql(f"select distinct len(concat_vector) from '{out}'").fetchall()
    assert lengths == [(6,)]


def test_a_vector_column_never_hides_a_source_column(tmp_path):
    save_config(tmp_path, {"v": {"kind": "vector", "encoder": {"name": "as-is", "dim": 3}}})
    write_run(tmp_path, {"v": np.ones((4, 3), "f4")}, {"v_vector": list("abcd")})
    table = pd.read_parquet(Run(tmp_path).export(tmp_path / "wide.parquet"))
    assert table["v_vector"].tolist() == list("abcd")
    assert table["v_vector_"][0].tolist() == [1, 1, 1]


def test_an_export_of_parts_that_differ_in_their_columns_is_refused(run):
    folder, *_, snapshot = run
    second = snapshot.parts("records")[1].path
    table = pq.read_table(second)
    pq.write_table(table.rename_columns({"price": "prize"}), second)
    with pytest.raises(PolyfuseError, match=f"{second.name} is damaged .*columns"):
        Run(folder).export(folder / "wide.parquet")
    assert not list(folder.glob("*.parquet"))


def test_an_export_that_cannot_be_written_leaves_nothing(run):
    folder, *_ = run
    (folder / "file").write_text("")
    with pytest.raises(PolyfuseError, match="can't write"):
        Run(folder).export(folder / "file" / "wide.parquet")


def test_a_folder_without_a_run_is_a_sentence(tmp_path):
    with pytest.raises(PolyfuseError, match="holds no run"):
        Run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_importing_results_loads_neither_torch_nor_faiss():
    code = "import sys, pipeline.results; print({'torch', 'faiss', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
