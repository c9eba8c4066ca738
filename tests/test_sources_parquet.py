"""Parquet tables against pyarrow reading the whole file."""

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_sources_tables import cells, plan_and_read

from pipeline.plan import Plan, make_plan
from pipeline.sources import SourceSpec, open_source, row_metadata


def write_parquet(path: Path, count: int, group: int) -> pa.Table:
    table = pa.table(
        {
            "sku": [f"s{n}" for n in range(count)],
            "photo": [b"x" * (n % 50) if n % 3 else None for n in range(count)],
            "vec": pa.array([[float(n), 1.0] for n in range(count)], pa.list_(pa.float32(), 2)),
            "small": pa.array([n % 100 for n in range(count)], pa.int8()),
            "hf": [{"bytes": b"b" if n % 2 else None, "path": "p"} for n in range(count)],
            "when": [datetime.datetime(2020, 1, 1 + n % 28) for n in range(count)],
            "kind": pa.array(["a", "b"] * (count // 2)).dictionary_encode(),
        }
    )
    pq.write_table(table, path, row_group_size=group)
    return table


@pytest.mark.parametrize("group", [7, 100, 1000])
@pytest.mark.parametrize("size", [2000, 256_000_000])
def test_parquet_equals_a_full_read(tmp_path, group, size):
    table = write_parquet(tmp_path / "a.parquet", 1000, group)
    found = plan_and_read(
        tmp_path / "a.parquet",
        tmp_path / "plan",
        ["photo", "vec"],
        records=300,
        size=size,
        id="sku",
        columns=("photo",),
    )
    assert cells(found) == table.select(["photo", "vec"]).to_pylist()
    assert [row.record_id for row in found] == table["sku"].to_pylist()


def test_parquet_shards_follow_row_groups(tmp_path):
    write_parquet(tmp_path / "a.parquet", 1000, 50)
    source = open_source(SourceSpec(str(tmp_path / "a.parquet"), columns=("photo",)))
    make_plan(source, tmp_path / "plan", records=4096, bytes=10**9)
    shards = list(Plan.open(tmp_path / "plan").shards())
    starts = {shard.start for shard in shards}
    assert set(range(0, 250, 50)) <= starts  # first sizes are below a group, then whole groups
    whole = [shard for shard in shards if shard.rows >= 50]
    assert sum(shard.rows for shard in whole) > 800
    assert all(shard.start % 50 == shard.rows % 50 == 0 for shard in whole)


def test_parquet_kept_columns(tmp_path):
    write_parquet(tmp_path / "a.parquet", 10, 10)
    source = open_source(SourceSpec(str(tmp_path / "a.parquet"), columns=("photo",)))
    schema = source.schema()
    assert {field.name: str(field.type) for field in schema} == {
        "sku": "string",
        "photo": "int64",
        "small": "int64",
        "hf": "int64",
        "when": "timestamp[us]",
        "kind": "string",
    }
    row = plan_and_read(tmp_path / "a.parquet", tmp_path / "plan")[1]
    values, problems = row_metadata(schema, row)
    assert not problems
    assert (values["photo"], values["hf"], values["kind"]) == (1, 1, "b")
    assert row.cells["hf"] == b"b"
    assert plan_and_read(tmp_path / "a.parquet", tmp_path / "p2", ["hf"])[0].cells == {"hf": "p"}


def test_bounds_that_are_no_text_are_part_of_the_fingerprint(tmp_path):
    """As of a text that ends inside of a character."""

    def shards(last: bytes) -> list[str]:
        texts = pa.array([b"a", last]).view(pa.string())
        pq.write_table(pa.table({"sku": ["s0", "s1"], "title": texts}), tmp_path / "a.parquet")
        source = open_source(SourceSpec(str(tmp_path / "a.parquet"), id="sku"))
        make_plan(source, tmp_path / "plan", update=True, records=10, bytes=10**9)
        return [shard.fingerprint for shard in Plan.open(tmp_path / "plan").shards()]

    cut = "café".encode()[:-1]
    first = shards(cut)
    assert shards(cut) == first
    assert shards(cut[:-1] + b"\xc4") != first


def test_damaged_parquet_pages_are_bad_rows(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"t": [f"text {n}" * 20 for n in range(100)]}), path, row_group_size=50)
    raw = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    raw[start : start + 200] = b"\xff" * 200
    path.write_bytes(raw)
    found = plan_and_read(path, tmp_path / "plan")
    assert [row.problem for row in found] == [None] * 50 + ["the Parquet page is damaged"] * 50


def test_real_esc10_equals_pyarrow(data, tmp_path):
    path = data / "esc10" / "esc10.parquet"
    expected = pq.read_table(path, columns=["path", "audio", "label"])
    found = plan_and_read(
        path, tmp_path / "plan", ["audio", "label"], id="path", columns=("audio",)
    )
    assert [row.record_id for row in found] == expected["path"].to_pylist()
    assert cells(found) == expected.select(["audio", "label"]).to_pylist()
