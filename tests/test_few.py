"""Light work on few rows: who does it changes no byte, and Ray is started only where it is needed."""

import shutil

import pytest
from corpus import part_bytes, write_corpus

from chaos.in_process import without_ray
from pipeline import config as configuration
from pipeline import few
from pipeline.plan import Shard
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


def unit(name, rows):
    return Unit(name, Shard(0, 0, "records.csv", 0, rows, 0, 0, ""), "work")


def test_much_work_and_all_decoding_are_for_workers():
    light = [unit(name, 10) for name in ("records", "split", "fuse.a", "restore.a")]
    assert few.suffices(light)
    assert not few.suffices([*light, unit("extract.photo", 1)])
    assert not few.suffices([*light, unit("fuse.b", few.ROWS)])
