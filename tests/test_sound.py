"""What the attacks look for is found: an attack that sees nothing proves nothing."""

import shutil

import pytest

from chaos import kills, sound
from chaos.in_process import without_ray
from chaos.notices import OPENED, Notices
from pipeline import config as configuration
from pipeline.run import run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = kills.prepare(tmp_path_factory.mktemp("finished"), records=40)
    with without_ray():
        run(configuration.load(config))
    return config.parent


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished / "run", tmp_path / "run")


def everything(run, finished):
    yield from sound.partial(run)
    yield from sound.accounted(run, finished / "records.csv")
    yield from sound.compared(run, finished / "run")


def part(run, folder):
    return sorted((run / folder).glob("part-*.parquet"))[1]


def test_a_finished_run_is_sound(copy, finished):
    assert list(everything(copy, finished)) == []
    assert list(sound.audited(finished / "run")) == []


def test_half_a_file_is_found_and_one_with_a_temporary_name_is_not(copy):
    whole = part(copy, "features/photo")
    (whole.parent / ".tmp-1").write_bytes(whole.read_bytes()[:100])
    (whole.parent / ".tmp-2.parquet").write_bytes(whole.read_bytes()[:100])
    assert list(sound.partial(copy)) == []
    whole.write_bytes(whole.read_bytes()[:-10])
    problems = list(sound.partial(copy))
    assert len(problems) == 2  # it can't be read, and the snapshot promises more
    assert all(whole.name in problem for problem in problems)


def test_a_file_that_the_snapshot_or_an_index_promises_is_missed(copy):
    part(copy, "fused/concat").unlink()
    next((copy / "index" / "title").glob("v*/index.faiss")).unlink()
    assert len(list(sound.partial(copy))) == 2


def test_a_changed_byte_of_a_part_or_an_index_is_found(copy, finished):
    index = next((copy / "index" / "photo").glob("v*/index.faiss"))
    for path in (part(copy, "records"), index):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    problems = list(sound.compared(copy, finished / "run"))
    assert len(problems) == 2
    assert any("photo/index.faiss" in problem for problem in problems)


def test_records_that_are_lost_or_there_twice_are_counted(finished, tmp_path):
    lines = (finished / "records.csv").read_text().splitlines()
    (tmp_path / "more.csv").write_text("\n".join([*lines, "extra,a,,"]))
    (tmp_path / "fewer.csv").write_text("\n".join(lines[:-1]))
    lost = list(sound.accounted(finished / "run", tmp_path / "more.csv"))
    assert len(lost) == 5  # records, three features, one model
    assert all("1 records lost, extra the first" in problem for problem in lost)
    twice = list(sound.accounted(finished / "run", tmp_path / "fewer.csv"))
    assert len(twice) == 5
    assert all("1 records too many, r0039" in problem for problem in twice)


def test_the_kernel_tells_names_in_their_order(tmp_path):
    created, opened = Notices([tmp_path]), Notices([tmp_path], OPENED)
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "b").read_bytes()
    assert created.read() == ["b", "a", "c"]
    assert created.read() == []
    assert [name for name in opened.read() if name] == ["b", "a", "b"]
    created.close()
    opened.close()
