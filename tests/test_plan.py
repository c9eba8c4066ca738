"""What planning again does: to a source that grew, was edited, or was only touched."""

import json
import os
import pickle
import random
import shutil
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kinds import KINDS, RECORDS, Csv, Folder, Jsonl, ParquetFiles, Tar

from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.plan import Plan, Planned, Shard, growing, make_plan
from pipeline.sources import Member, SourceSpec, open_source


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def corpus(request, tmp_path):
    corpus = request.param(tmp_path / "in")
    corpus.write(RECORDS)
    return corpus


def plan(corpus, folder, **options) -> Planned:
    return make_plan(corpus.source(folder), folder, records=10, bytes=10**6, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_nothing_new(corpus, tmp_path):
    first = plan(corpus, tmp_path / "plan")
    assert corpus.read(tmp_path / "plan") == RECORDS
    before = contents(tmp_path / "plan")
    again = plan(corpus, tmp_path / "plan")
    assert again == Planned(0, (), first.records, True)
    assert contents(tmp_path / "plan") == before
    plan(corpus, tmp_path / "other")
    assert contents(tmp_path / "other") == before


def test_appended_records_get_new_shards(corpus, tmp_path):
    folder = tmp_path / "plan"
    plan(corpus, folder)
    old = list(Plan.open(folder).shards())
    grown = RECORDS | {f"k{n:03}": f"text {n}" for n in range(100, 125)}
    corpus.write(grown)
    planned = plan(corpus, folder)
    assert (planned.new_shards, planned.retired, planned.unchanged) == (3, (), False)
    shards = list(Plan.open(folder).shards())
    same = [(s.number, s.generation, s.file, s.start, s.rows, s.fingerprint) for s in old]
    assert [(s.number, s.generation, s.file, s.start, s.rows, s.fingerprint) for s in shards][
        : len(old)
    ] == same
    assert {(s.generation, s.number) for s in shards[len(old) :]} == {
        (1, len(old) + n) for n in range(3)
    }
    assert corpus.read(folder) == grown
    assert plan(corpus, folder).unchanged


def edits():
    edited = RECORDS | {"k055": "edited text"}
    same_size = RECORDS | {"k055": "TEXT 55"}
    removed = {key: text for key, text in RECORDS.items() if key != "k055"}
    cut = {key: text for key, text in RECORDS.items() if key < "k093"}
    items = list(RECORDS.items())
    inserted = dict([*items[:55], ("k054b", "inserted"), *items[55:]])
    return {"edited": edited, "same size": same_size, "removed": removed, "cut": cut} | {
        "inserted": inserted
    }


@pytest.mark.parametrize("name", edits())
def test_edited_records_need_update(corpus, tmp_path, name):
    folder, records = tmp_path / "plan", edits()[name]
    plan(corpus, folder)
    before = contents(folder)
    numbers = {shard.number for shard in Plan.open(folder).shards()}
    corpus.write(records)
    if name == "inserted" and isinstance(corpus, Folder):
        assert plan(corpus, folder).retired == ()  # names have no positions: it is an addition
        assert corpus.read(folder) == records
        return
    if name == "same size" and isinstance(corpus, Tar):
        assert plan(corpus, folder).unchanged  # equal headers: stated in docs/sources.md
        return
    with pytest.raises(Refused, match=r"changed since planning: .* --update .* --restart"):
        plan(corpus, folder)
    assert contents(folder)["plan.json"] == before["plan.json"]
    planned = plan(corpus, folder, update=True)
    live = {shard.number for shard in Plan.open(folder).shards()}
    assert set(planned.retired) == numbers - live == Plan.open(folder).retired
    assert planned.retired
    assert live - numbers == {len(numbers) + n for n in range(planned.new_shards)}
    assert corpus.read(folder) == records
    assert plan(corpus, folder).unchanged


def test_random_histories(corpus, tmp_path):
    """Whatever happens to the records, an updated plan reads exactly what is there."""
    draw = random.Random(5)
    folder, records = tmp_path / "plan", dict(RECORDS)
    plan(corpus, folder)
    for step in range(12):
        keys = list(records)
        for key in draw.sample(keys, draw.randrange(3)):
            if draw.random() < 0.5:
                del records[key]
            else:
                records[key] = f"edited in step {step}" + "!" * draw.randrange(9)
        records |= {f"n{step:02}{n:02}": "new" for n in range(draw.randrange(15))}
        corpus.write(records)
        plan(corpus, folder, update=True)
        assert corpus.read(folder) == records
        numbers = [shard.number for shard in Plan.open(folder).shards()]
        assert numbers == sorted(set(numbers))
        assert not Plan.open(folder).retired & set(numbers)


@pytest.mark.parametrize("kind", [Csv, Jsonl, ParquetFiles, Tar])
def test_a_touched_file_is_unchanged(kind, tmp_path):
    corpus = kind(tmp_path / "in")
    corpus.write(RECORDS)
    plan(corpus, tmp_path / "plan")
    for path in corpus.root.iterdir():
        corpus.stamp(path)
    assert plan(corpus, tmp_path / "plan").unchanged


def test_a_touched_medium_counts_as_edited(tmp_path):
    corpus = Folder(tmp_path / "in")
    corpus.write(RECORDS)
    plan(corpus, tmp_path / "plan")
    corpus.stamp(corpus.root / "sub" / "k001.txt")
    with pytest.raises(Refused, match="records sub/k000 to sub/k009"):
        plan(corpus, tmp_path / "plan")


def test_a_continued_last_line_is_an_edit_and_a_final_newline_is_not(tmp_path):
    (tmp_path / "in").mkdir()
    table = tmp_path / "in" / "a.csv"
    spec = SourceSpec(str(table))

    def planned():
        return make_plan(open_source(spec), tmp_path / "plan", records=10, bytes=1000)

    table.write_text("t\na\nb")
    planned()
    table.write_text("t\na\nb\n")
    assert planned().new_shards == 0
    table.write_text("t\na\nb\nc\n")
    assert planned().new_shards == 1
    table.write_text("t\na\nb\ncd\n")
    with pytest.raises(Refused, match=r"a\.csv rows 3 to 3 were edited"):
        planned()
    table.write_text("t,u\na,1\n")
    with pytest.raises(Refused, match=r'columns was \["t"\] .* is now \["t", "u"\]'):
        planned()


def test_a_file_that_is_gone_or_new(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ac":
        (tmp_path / "in" / f"{name}.csv").write_text(f"t\n{name}1\n{name}2\n")

    def planned(**options):
        source = open_source(SourceSpec(str(tmp_path / "in")))
        return make_plan(source, tmp_path / "plan", records=10, bytes=1000, **options)

    planned()
    (tmp_path / "in" / "b.csv").write_text("t\nb1\n")
    assert planned() == Planned(1, (), 5, False)
    (tmp_path / "in" / "a.csv").unlink()
    with pytest.raises(Refused, match=r"a\.csv rows 1 to 2 were edited or removed"):
        planned()
    assert planned(update=True) == Planned(0, (0,), 3, False)
    assert [s.file for s in Plan.open(tmp_path / "plan").shards()] == ["c.csv", "b.csv"]


def test_only_the_edited_shard_is_recomputed(tmp_path):
    """An edit that moves all later bytes retires one shard; the others keep number and rows."""
    corpus = Csv(tmp_path / "in")
    corpus.write(RECORDS)
    plan(corpus, tmp_path / "plan")
    corpus.write(RECORDS | {"k005": "a much longer text than before"})
    assert plan(corpus, tmp_path / "plan", update=True) == Planned(1, (0,), 100, False)


@pytest.mark.parametrize("stop", ["shards", "plan.json", "columns", "catalogue"])
def test_killed_before_a_rename(corpus, tmp_path, monkeypatch, stop):
    """The earlier plan stands; running again gives the bytes of an undisturbed planning."""
    plan(corpus, tmp_path / "calm")
    replace = os.replace

    def die(old, new):
        if Path(new).name.startswith(stop):
            shutil.copy(old, Path(new).with_name(".tmp-left"))
            raise KeyboardInterrupt
        replace(old, new)

    for round_ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", die)
            try:
                plan(corpus, tmp_path / "plan")
            except KeyboardInterrupt:
                assert list((tmp_path / "plan").glob(".tmp-*"))
        plan(corpus, tmp_path / "plan")
        assert contents(tmp_path / "plan") == contents(tmp_path / "calm")
        if round_ == 0:
            corpus.write(RECORDS | {"z": "one more"})
            plan(corpus, tmp_path / "calm")


def test_shards_grow(tmp_path):
    (tmp_path / "a.csv").write_text("t\n" + "x\n" * 2000)
    source = open_source(SourceSpec(str(tmp_path / "a.csv")))
    make_plan(source, tmp_path / "plan", records=256, bytes=10**6)
    rows = [shard.rows for shard in Plan.open(tmp_path / "plan").shards()]
    assert rows[:10] == [32] * 2 + [16] * 4 + [8] * 4
    assert rows[10:-1] == [64] * 4 + [128] * 4 + [256] * 4
    assert sum(rows) == 2000
    sizes = growing(10, 5)
    assert {next(sizes) for _ in range(100)} == {(10, 5), (8, 5)}
    few = [limit.rows for limit in islice(growing(64, 5, first=8), 26)]
    assert few == [8] * 2 + [4] * 4 + [2] * 4 + [16] * 4 + [32] * 4 + [64] * 8
    assert {limit.rows for limit in islice(growing(64, 5, first=1), 10)} == {1}


@pytest.mark.parametrize("kind", [Csv, Jsonl, ParquetFiles, Tar, Folder])
def test_bytes_limit_a_shard(kind, tmp_path):
    corpus = kind(tmp_path / "in")
    draw = random.Random(1)  # no two alike: Parquet would store one
    corpus.write({f"k{n:02}": draw.randbytes(500).hex() for n in range(60)})
    make_plan(corpus.source(tmp_path / "plan"), tmp_path / "plan", records=100, bytes=2500)
    rows = [shard.rows for shard in Plan.open(tmp_path / "plan").shards()]
    assert max(rows) <= 3
    if kind is not ParquetFiles:
        assert max(shard.length for shard in Plan.open(tmp_path / "plan").shards()) <= 2500
    make_plan(corpus.source(tmp_path / "one"), tmp_path / "one", records=100, bytes=1)
    if kind not in (ParquetFiles, Folder):
        assert {shard.rows for shard in Plan.open(tmp_path / "one").shards()} == {1}


def test_shards_travel(tmp_path):
    shard = Shard(3, 1, "a.csv", 10, 5, 100, 50, "f" * 64)
    assert pickle.loads(pickle.dumps(shard)) == shard
    assert Shard.from_dict(json.loads(json.dumps(shard.to_dict()))) == shard
    spec = SourceSpec("a.csv", None, {"n": "int"}, ("t",))
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert pickle.loads(pickle.dumps(Member("/a", 1, 2, "a"))) == Member("/a", 1, 2, "a")


def test_files_say_their_format(corpus, tmp_path):
    plan(corpus, tmp_path / "plan")
    for path in (tmp_path / "plan").iterdir():
        if path.suffix == ".parquet":
            assert pq.read_schema(path).metadata[b"format"] == b"1"
        else:
            assert json.loads(path.read_text())["format"] == 1


def test_no_plan_and_another_format(tmp_path):
    with pytest.raises(ConfigError, match="holds no plan"):
        Plan.open(tmp_path)
    (tmp_path / "plan.json").write_text('{"format": 2}')
    with pytest.raises(
        PolyfuseError, match="has format 2; this version of polyfuse reads format 1"
    ):
        Plan.open(tmp_path)
