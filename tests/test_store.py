"""Parts, snapshots and the schemas: bytes, names, and what other readers see."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import files, schemas, store
from pipeline.errors import PolyfuseError


def table(rows: int = 5, dim: int = 3) -> pa.Table:
    matrix = np.arange(rows * dim, dtype=np.float32).reshape(rows, dim)
    valid = np.arange(rows) % 2 == 0
    ids = pa.array([f"r{i}" for i in range(rows)])
    return pa.table([ids, schemas.vectors_array(matrix, valid)], schema=schemas.features(dim))


def test_a_part_is_named_by_its_number_and_content(tmp_path):
    part = store.write_part(tmp_path, "features/image", 7, table())
    path = tmp_path / "features/image" / part.name
    assert part.name.startswith("part-0000007-")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == part.sha256
    assert part.sha256.startswith(part.name.removeprefix("part-0000007-").removesuffix(".parquet"))
    assert path.stat().st_size == part.bytes


def test_equal_content_gives_equal_bytes_whatever_lies_behind_nulls(tmp_path):
    first, second = table(), table()
    garbage = np.full((5, 3), np.nan, np.float32)
    matrix, valid = schemas.matrix_of(second["vector"])
    garbage[valid] = matrix[valid]
    second = second.set_column(1, "vector", schemas.vectors_array(garbage, valid))
    parts = [store.write_part(tmp_path / n, "x", 0, t) for n, t in (("a", first), ("b", second))]
    assert parts[0] == parts[1]


def test_a_damaged_part_of_the_same_name_is_written_again(tmp_path):
    part = store.write_part(tmp_path, "x", 0, table())
    (tmp_path / "x" / part.name).write_bytes(b"half")
    store.write_part(tmp_path, "x", 0, table())
    assert files.sha256_of(tmp_path / "x" / part.name) == part.sha256


def test_vectors_come_back(tmp_path):
    part = store.write_part(tmp_path, "x", 0, table())
    read = pq.read_table(tmp_path / "x" / part.name)
    assert read.schema.field("vector").type == pa.list_(pa.float32(), 3)
    assert read["vector"].to_pylist()[:2] == [[0.0, 1.0, 2.0], None]
    assert pq.read_metadata(tmp_path / "x" / part.name).metadata[b"format"] == b"1"


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_matrix_of_inverts_vectors_array(rows):
    matrix = np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)
    valid = np.arange(rows) != 1
    array = schemas.vectors_array(matrix, valid)
    back, seen = schemas.matrix_of(pa.chunked_array([array[:2], array[2:]], type=array.type))
    assert (seen == valid).all()
    assert (back[valid] == matrix[valid]).all()
    assert not back[~valid].any()


def test_a_sequence_is_read_as_the_mean_of_its_rows():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(3, 4)).astype("f4"), None, rng.normal(size=(1, 4)).astype("f4")]
    array = schemas.sequences_array(sequences, 4)
    assert array.type == schemas.vector_type(4, "sequence")
    matrix, valid = schemas.matrix_of(array)
    assert valid.tolist() == [True, False, True]
    np.testing.assert_allclose(matrix[0], sequences[0].mean(0), atol=1e-6)
    np.testing.assert_allclose(matrix[2], sequences[2][0], atol=1e-6)


def test_a_snapshot_is_published_once_for_the_same_parts(tmp_path):
    parts = [(n, store.write_part(tmp_path, "records", n, table(n + 1))) for n in (1, 0)]
    first = store.publish_snapshot(tmp_path, parts, {"records": 3})
    again = store.publish_snapshot(tmp_path, reversed(parts), {"records": 3})
    assert first == again == store.Snapshot.latest(tmp_path)
    assert [part.number for part in first.parts("records")] == [0, 1]
    assert first.parts("records")[1].rows == 2
    assert first.folders() == ["records"]
    more = [*parts, (2, store.write_part(tmp_path, "records", 2, table(9)))]
    assert store.publish_snapshot(tmp_path, more, {}).version == first.version + 1
    assert [part.number for part in first.parts("records")] == [0, 1]  # the old one still reads


def test_no_snapshot_says_what_to_do(tmp_path):
    with pytest.raises(PolyfuseError, match="holds no finished run.*polyfuse run"):
        store.Snapshot.latest(tmp_path)


def test_create_lets_the_first_win(tmp_path):
    assert files.create(tmp_path / "a", b"first")
    assert not files.create(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]  # no temporary file is left
