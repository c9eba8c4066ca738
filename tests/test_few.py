"""Light work on few rows: who does it changes no byte, and Ray is started only where it is needed."""

import shutil
from itertools import islice

import pytest
from corpus import part_bytes, write_corpus
from kinds import KINDS, RECORDS, Folder

from chaos.in_process import without_ray
from pipeline import config as configuration
from pipeline import few
from pipeline.plan import FIRST_SHARD, Plan, Shard, make_plan
from pipeline.run import Options, run
from pipeline.units import Unit


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extracted")
    config = write_corpus(folder)
    with without_ray():
        run(configuration.load(config), Options(("extract",)))
    return folder


def finished(extracted, folder):
    shutil.copytree(extracted, folder, copy_function=shutil.copy2)
    summary = run(configuration.load(folder / "run.yaml"), Options(("split", "fuse")))
    bytes_of_split = {path.name: path.read_bytes() for path in (folder / "run/split").iterdir()}
    return summary, part_bytes(folder / "run"), bytes_of_split


@pytest.mark.ray
def test_the_command_writes_what_workers_write(extracted, two_cpus, tmp_path, monkeypatch):
    alone, *ours = finished(extracted, tmp_path / "alone")
    assert "ray" not in alone.seconds
    monkeypatch.setattr(few, "ROWS", 0)
    pool, *theirs = finished(extracted, tmp_path / "pool")
    assert "ray" in pool.seconds
    assert alone.computed == pool.computed == 2 * 60
    assert ours == theirs
    assert any(name.startswith("fused/") for name in ours[0])


@pytest.mark.ray
def test_of_one_small_shard_too(two_cpus, tmp_path, monkeypatch):
    def finished(folder):
        summary = run(configuration.load(write_corpus(folder, records=12)))
        assert summary.status.indexes == ["concat", "photo", "sound", "title"]
        indexes = {
            path.relative_to(folder): path.read_bytes()
            for path in (folder / "run/index").rglob("*.faiss")
        }
        return summary, part_bytes(folder / "run"), indexes

    alone, *ours = finished(tmp_path / "alone")
    assert "ray" not in alone.seconds
    monkeypatch.setattr(few, "suffices", lambda _: False)
    monkeypatch.setattr(few, "ROWS", 0)
    pool, *theirs = finished(tmp_path / "pool")
    assert "ray" in pool.seconds
    assert alone.computed == pool.computed == 3 * 12
    assert ours == theirs
    assert len(ours[1]) == 4
    for summary in (alone, pool):
        assert 0 < summary.first
        again = run(configuration.load(summary.run.parent / "run.yaml"))
        assert (again.computed, again.first) == (0, None)


def unit(name, rows, number=0):
    return Unit(name, Shard(number, 0, "records.csv", 0, rows, 0, 0, ""), "work")


def test_much_work_is_for_workers():
    light = [unit(name, 10) for name in ("records", "split", "fuse.a", "restore.a")]
    assert few.suffices(light)
    assert not few.suffices([*light, unit("fuse.b", few.ROWS)])


def test_media_of_more_than_a_small_shard_are_for_workers():
    small = [unit("extract.photo", FIRST_SHARD), unit("extract.sound", FIRST_SHARD)]
    assert few.suffices([unit("fuse.a", 10, 1), *small])
    assert not few.suffices([*small, unit("extract.photo", 1, 1)])
    assert not few.suffices([unit("extract.photo", FIRST_SHARD + 1)])


@pytest.mark.parametrize("count", [1, 9, 31, 33, 100])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("first", [8, FIRST_SHARD])
def test_that_they_are_few_is_known_before(kind, count, first, tmp_path):
    corpus = kind(tmp_path / "in")
    corpus.write(dict(islice(RECORDS.items(), count)))
    sizes = {"records": 64, "bytes": 10**6, "first": first}
    known = few.has_few(corpus.source(tmp_path / "plan"), sizes)
    make_plan(corpus.source(tmp_path / "plan"), tmp_path / "plan", **sizes)
    shards = list(Plan.open(tmp_path / "plan").shards())
    assert known == few.suffices([Unit("extract.a", shard, "work") for shard in shards])


def test_a_large_folder_is_not_walked_to_know_it(tmp_path, monkeypatch):
    corpus = Folder(tmp_path / "in")
    corpus.write(RECORDS)
    source = corpus.source(tmp_path / "plan")
    monkeypatch.setattr(type(source), "_list", lambda *_: pytest.fail("it was walked"))
    assert not few.has_few(source, {"records": 64, "bytes": 10**6})
