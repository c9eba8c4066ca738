"""Text tables against the csv and json modules reading the whole file; paths of all tables."""

import csv
import hashlib
import io
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, Refused
from pipeline.plan import Plan, make_plan
from pipeline.sources import Row, SourceSpec, open_source, row_metadata, rows


def plan_and_read(path, folder, only=None, *, records=4096, size=256_000_000, **spec):
    """All rows of a source, through a plan; the shards must tile each file."""
    source = open_source(SourceSpec(str(path), **spec))
    make_plan(source, folder, records=records, bytes=size)
    plan = Plan.open(folder)
    ends: dict[str, int] = {}
    found = []
    for shard in plan.shards():
        assert shard.start == ends.get(shard.file, 0)
        got = list(source.read(shard, only))
        assert len(got) == shard.rows <= records
        ends[shard.file] = shard.start + shard.rows
        found += got
    assert plan.totals.records == len(found)
    return found


def cells(found):
    return [row.cells for row in found]


def test_csv_equals_the_csv_module(tmp_path):
    table = tmp_path / "a.csv"
    text = (
        "\ufeffsku,title,price\r\n"
        '1,"a ""quoted"" word",2.5\r\n'
        '2,"two\r\nlines, and a comma",\r\n'
        "\r\n"
        '3,5" disk,1\n'  # a stray quote: literal, as for the csv module
        "4,\u00fcnic\u00f6de \U0001f600,0\n"
        '5,"",9'
    )
    table.write_bytes(text.encode())
    expected = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    names, records = expected[0], [fields for fields in expected[1:] if fields]
    found = plan_and_read(table, tmp_path / "plan", records=2)
    assert cells(found) == [
        {n: f or None for n, f in zip(names, fields, strict=True)} for fields in records
    ]


FIELD = st.text(st.sampled_from('ab,\t"\n\r é\U0001f600'), max_size=6)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=30),
    # With "\n" alone the writer of the csv module leaves a field with "\r" unquoted.
    st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL)]),
    st.integers(1, 7),
    st.sampled_from([16, 64, 8 << 20]),
    st.sampled_from([(".csv", ","), (".tsv", "\t")]),
)
def test_csv_round_trip(tmp_path_factory, records, style, size, chunk, kind):
    folder = tmp_path_factory.mktemp("trip")
    table = folder / f"a{kind[0]}"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=kind[1], lineterminator=style[0], quoting=style[1])
        writer.writerow(["x", "y", "z"])
        writer.writerows(records)
    if not records:
        with pytest.raises(ConfigError, match="the source is empty"):
            plan_and_read(table, folder / "plan")
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CHUNK", chunk)
        found = plan_and_read(table, folder / "plan", records=size)
    assert [tuple(row.cells.values()) for row in found] == [
        tuple(field or None for field in record) for record in records
    ]


@settings(deadline=None, max_examples=400)
@given(st.text(st.sampled_from('ab,"\n\r'), max_size=60), st.sampled_from([1, 3, 16, 8 << 20]))
def test_row_boundaries_of_any_text_are_those_of_the_strict_csv_module(text, chunk):
    expected = []
    lines = io.StringIO(text, newline="\n")
    taken = []

    def feed():
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(feed(), strict=True)
    while True:
        begin = len(taken)
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error:
            fields = ["error"]
        if fields or taken[-1] not in ("\n", "\r\n", "\r"):
            expected.append("".join(taken[begin:]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CHUNK", chunk)
        limits = iter([rows.Limit(1, None)] * (len(expected) + 1))
        pieces = list(rows.cut_rows(io.BytesIO(text.encode()), "a.csv", ",", limits))
    found = [text[piece.offset : piece.offset + piece.length] for piece in pieces]
    assert [piece.lstrip("\r\n") for piece in found] == [row.lstrip("\r\n") for row in expected]


def test_bad_rows_keep_their_place(tmp_path):
    table = tmp_path / "a.csv"
    table.write_bytes(b'id,t\n1,ok\n2\n3,\xff\xfe\n4,"x"y\n5,a,b\n6,ok\n')
    found = plan_and_read(table, tmp_path / "plan")
    assert [bool(row.problem) for row in found] == [False, True, True, True, True, False]
    assert found[1].problem == "1 fields where the header has 2"
    assert found[2].problem == "the row is not valid UTF-8"
    assert "not valid CSV" in found[3].problem
    assert found[5].cells == {"id": "6", "t": "ok"}
    assert all(row.cells == {} for row in found if row.problem)


def test_an_open_quote_costs_one_row_at_the_end_and_is_bounded(tmp_path, monkeypatch):
    table = tmp_path / "a.csv"
    table.write_text('t,u\na,b\n"never closed,c\nd,e\n')
    found = plan_and_read(table, tmp_path / "plan")
    assert [row.problem is None for row in found] == [True, False]
    monkeypatch.setattr(rows, "CHUNK", 64)
    monkeypatch.setattr(rows, "LONGEST_ROW", 256)
    table.write_text('t,u\na,b\n"never closed,c\n' + "d,e\n" * 200)
    with pytest.raises(ConfigError, match="row at byte 8 is longer"):
        plan_and_read(table, tmp_path / "other")


def test_default_ids_hash_file_and_position(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("sub/a.csv", "sub/b.csv"):
        (tmp_path / name).write_text("t\nx\ny\n")
    found = plan_and_read(tmp_path / "sub", tmp_path / "plan")
    expected = [
        hashlib.sha256(f"{file}\0{position}".encode()).hexdigest()[:16]
        for file in ("a.csv", "b.csv")
        for position in (0, 1)
    ]
    assert [row.record_id for row in found] == expected
    moved = tmp_path / "moved"
    (tmp_path / "sub").rename(moved)
    again = plan_and_read(moved, tmp_path / "plan2", ())
    assert [row.record_id for row in again] == expected


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id,t\n1,a\n2,b\n1,c\n", "'1' occurs twice, at a.csv row 1 and at a.csv row 3"),
        ("id,t\n1,a\n,b\n", "a.csv row 2 has an empty id"),
    ],
)
def test_ids_must_be_there_and_unique(tmp_path, text, match):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ConfigError, match=match):
        plan_and_read(tmp_path / "a.csv", tmp_path / "plan", id="id")


def test_duplicates_are_found_across_buckets_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.duplicates.BUCKET_ROWS", 100)
    ids = [f"k{n}" for n in range(1000)]
    (tmp_path / "a.csv").write_text("id\n" + "\n".join(ids) + "\n")
    assert len(plan_and_read(tmp_path / "*.csv", tmp_path / "plan", id="id")) == 1000
    (tmp_path / "b.csv").write_text("id\nnew\nk77\n")
    with pytest.raises(ConfigError, match=r"'k77' .* a.csv row 78 and at b.csv row 2"):
        plan_and_read(tmp_path / "*.csv", tmp_path / "plan", id="id")


def test_jsonl_equals_json_loads(tmp_path):
    records = [
        {"t": "a\nb", "n": 1, "v": [1.5, 2], "x": {"y": 1}},
        {"n": 2.5, "b": True},
        {"t": ""},
    ]
    table = tmp_path / "a.jsonl"
    table.write_text("\n\n".join(map(json.dumps, records)))
    source = open_source(SourceSpec(str(table), columns=("t", "v")))
    found = plan_and_read(table, tmp_path / "plan", ["t", "v"])
    assert cells(found) == [{"t": r.get("t"), "v": r.get("v")} for r in records]
    expected = [("t", pa.string()), ("n", pa.float64()), ("b", pa.bool_())]
    assert source.schema() == pa.schema(expected)


def test_jsonl_bad_rows(tmp_path):
    table = tmp_path / "a.jsonl"
    bad = ["[1]", "{", '{"t": "\\ud800"}', "[" * 100_000, '{"n": ' + "9" * 5000 + "}"]
    table.write_text("\n".join(['{"t": "ok"}', *bad, '{"t": "\\ud83d\\ude00"}', ""]))
    found = plan_and_read(table, tmp_path / "plan")
    assert [row.problem is None for row in found] == [True, *[False] * len(bad), True]
    assert found[-1].cells == {"t": "\U0001f600"}
    assert "got list" in found[1].problem


def test_jsonl_column_that_appears_late(tmp_path):
    table = tmp_path / "a.jsonl"
    table.write_text('{"t": 1}\n' * 1500 + '{"clip": "a.mp4"}\n')
    assert open_source(SourceSpec(str(table), columns=("clip",))).schema().names == ["t"]
    with pytest.raises(ConfigError, match=r"no column 'clap'; there are: t"):
        open_source(SourceSpec(str(table), columns=("clap",)))


def test_declared_types_and_cells_that_do_not_convert(tmp_path):
    (tmp_path / "a.csv").write_text("n,x,b,s\n1,2.5,true,a\nmany,1e3,maybe,\n")
    types = {"n": "int", "x": "float", "b": "bool"}
    source = open_source(SourceSpec(str(tmp_path / "a.csv"), types=types))
    make_plan(source, tmp_path / "plan", records=10, bytes=1000)
    plan = Plan.open(tmp_path / "plan")
    first, second = (row_metadata(plan.schema, row) for row in source.read(next(plan.shards())))
    assert first == ({"n": 1, "x": 2.5, "b": True, "s": "a"}, [])
    assert second.values == {"n": None, "x": 1000.0, "b": None, "s": None}
    assert second.problems == ["column n: 'many' is not int64", "column b: 'maybe' is not bool"]
    pa.Table.from_pylist([first.values, second.values], plan.schema)


def test_rows_edited_while_a_job_runs_are_refused(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("t\n" + "abc\n" * 40)
    source = open_source(SourceSpec(str(table)))
    make_plan(source, tmp_path / "plan", records=100, bytes=10**6)
    shard = next(Plan.open(tmp_path / "plan").shards())
    table.write_text("t\n" + "abd\n" * 40)
    with pytest.raises(Refused, match=r"a\.csv rows 1 to 32 changed since planning"):
        list(source.read(shard))


@pytest.mark.parametrize(
    ("name", "content", "spec", "match"),
    [
        ("a.csv", b"title,b\n1,2\n", {"columns": ("titel",)}, "did you mean 'title'"),
        ("a.csv", b"title,b\n1,2\n", {"types": {"price": "int"}}, "no column 'price'"),
        ("a.csv", b"t,t\n1,2\n", {}, "names 't' twice"),
        ("a.csv", b"", {}, "is empty"),
        ("a.csv", b"t\n", {}, "the source is empty"),
        ("a.csv", "t\n1\n".encode("utf-16"), {}, "UTF-16"),
        ("a.csv", b"a,b\r1,2\r", {}, "can't read the header"),
        ("a.jsonl", b"", {}, "the source is empty"),
        ("a.parquet", b"PAR1 no", {}, "not a valid Parquet file"),
        ("a.csv.gz", b"", {}, "uncompress it first"),
        ("a.xlsx", b"", {}, "ends in .xlsx; expected .csv"),
    ],
)
def test_what_can_not_be_a_table(tmp_path, name, content, spec, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=match):
        plan_and_read(tmp_path / name, tmp_path / "plan", **spec)


def test_paths(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a-01.csv", "a-02.csv", "b-01.csv"):
        (tmp_path / "in" / name).write_text(f"t\n{name}\n")
    for pattern, expected in [
        ("in", ["a-01.csv", "a-02.csv", "b-01.csv"]),
        ("in/a-*.csv", ["a-01.csv", "a-02.csv"]),
        ("in/a-{01..02}.csv", ["a-01.csv", "a-02.csv"]),
        ("in/{a,b}-01.csv", ["a-01.csv", "b-01.csv"]),
        ("**/b*.csv", ["b-01.csv"]),
    ]:
        plan = tmp_path / "plans" / str(hash(pattern))
        assert [row.cells["t"] for row in plan_and_read(tmp_path / pattern, plan)] == expected
    for pattern, match in [
        ("in/a-{01..03}.csv", "a-03.csv does not exist"),
        ("in/c*.csv", "no file matches"),
        ("in/a-01.cvs", "did you mean a-01.csv"),
        ("in/zzz", "in has: a-01.csv"),
        ("s3://bucket/a.csv", "is remote"),
    ]:
        with pytest.raises(ConfigError, match=match):
            open_source(SourceSpec(pattern if "://" in pattern else str(tmp_path / pattern)))
    (tmp_path / "in" / "b-01.csv").write_text("other\n1\n")
    with pytest.raises(ConfigError, match="expected the same header"):
        plan_and_read(tmp_path / "in", tmp_path / "plan2")
    (tmp_path / "in" / "c.tsv").write_text("t\n")
    with pytest.raises(ConfigError, match=r"mixes \.csv, \.tsv"):
        open_source(SourceSpec(str(tmp_path / "in" / "*")))


def test_real_clinc150_equals_the_csv_module(data, tmp_path):
    path = data / "text" / "clinc150" / "clinc150.csv"
    with path.open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    assert cells(plan_and_read(path, tmp_path / "plan")) == expected


def test_row_metadata_takes_bytes_as_length():
    schema = pa.schema([("photo", pa.int64())])
    assert row_metadata(schema, Row("a", {"photo": b"abc"})).values == {"photo": 3}
