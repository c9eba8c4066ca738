"""A run's folder in an S3-compatible store: the same bytes as in a folder, whatever the store does."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus import part_bytes, write_corpus
from object_store import Faults, Store, serving

from chaos.in_process import without_ray
from pipeline import Run, files
from pipeline import config as configuration
from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.lease import Holder
from pipeline.run import Options, run
from pipeline.verify import verify

ROOT = Path(__file__).resolve().parent.parent
WHERE = "s3://bucket/runs/products"


@pytest.fixture
def store(monkeypatch, own_cache) -> Iterator[Store]:
    with serving(monkeypatch) as store:
        yield store


def parts(run: Path) -> dict[str, bytes]:
    """As `corpus.part_bytes`, of a store."""
    tops = ("records", "errors", "features", "fused")
    return {
        path.relative_to(run).as_posix(): files.read(path)
        for top in tops
        for path in files.below(run / top)
    }


def command(config: Path, output: str | Path, **options) -> None:
    with without_ray():
        run(configuration.load(config, [f"output={output}"]), Options(**options))


def append_rows(config: Path) -> None:
    with (config.parent / "records.csv").open("a") as file:
        file.writelines(f"r9{i:02d},a new thing {i},,,{i}\n" for i in range(20))


def test_a_store_that_fails_is_slow_loses_answers_and_lists_the_past(tmp_path, store):
    config = write_corpus(tmp_path, records=24)
    store.faults = Faults(errors=0.005, slow=0.01, lost=0.05, stale=5.0)
    for output in (WHERE, tmp_path / "run"):
        command(config, output)
    append_rows(config)
    for output in (WHERE, tmp_path / "run"):
        command(config, output, update=True)
    assert min(store.seen[name] for name in ("errors", "slow", "lost")) > 0
    store.faults = Faults()
    command(config, WHERE)  # a listing that tells the truth: what is garbage goes
    place = files.at(WHERE)
    assert parts(place) == part_bytes(tmp_path / "run")
    audit = verify(place)
    assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)
    there, here = (Run(where).search({"text": "thing 3"}) for where in (WHERE, tmp_path / "run"))
    assert there == here
    assert Run(WHERE).records().to_table() == Run(tmp_path / "run").records().to_table()


def test_an_index_is_fetched_once(tmp_path, store):
    command(write_corpus(tmp_path, records=24), WHERE)
    Run(WHERE).search({"text": "thing 3"})
    store.seen.clear()
    Run(WHERE).search({"text": "thing 3"})
    assert store.seen["GET"] <= 8
    kept = sorted((tmp_path / "cache/polyfuse/objects").iterdir())
    index = next(path for path in kept if path.read_bytes().startswith(b"Ix"))
    index.write_bytes(b"x" * index.stat().st_size)
    with pytest.raises(Refused, match="damaged"):
        Run(WHERE).search({"text": "thing 3"})


def test_a_put_whose_answer_was_lost_is_ours_and_the_next_writer_is_another(store):
    folder = files.at("s3://bucket/a")
    store.faults = Faults(lost=0.5)
    for number in range(8):
        assert files.create(folder / f"{number}.json", b"mine")
    assert store.seen["lost"]
    for number in range(8):
        assert not files.create(folder / f"{number}.json", b"another's")
        assert files.read(folder / f"{number}.json") == b"mine"


def test_a_writer_who_was_taken_over_from_commits_nothing(store):
    place = files.at("s3://bucket/a")
    with Holder(place) as old:
        with pytest.raises(Refused, match="is writing to it"):
            Holder(place)
        files.create(old.path(2), files.to_json({"host": "elsewhere", "pid": 1, "started": ""}))
        with pytest.raises(Refused, match="another writer took over"):
            old.check()


@pytest.mark.ray
def test_the_commands_take_the_address_of_a_store(tmp_path, store):
    config = write_corpus(tmp_path, records=40)

    def polyfuse(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", *words], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "a-secret-that-nobody-may-print" not in done.stdout + done.stderr
        return done.stdout

    polyfuse("run", str(config), "--set", f"output={WHERE}")
    found = json.loads(polyfuse("search", WHERE, "--text", "thing 3", "--json"))
    assert len(found) == 10
    polyfuse("retry", WHERE)
    command(config, tmp_path / "run")
    assert parts(files.at(WHERE)) == part_bytes(tmp_path / "run")


def test_a_store_that_cannot_be_used_is_one_sentence(tmp_path, store, monkeypatch):
    with pytest.raises(ConfigError, match="unknown scheme 'https'"):
        files.at("https://bucket/run")
    with pytest.raises(ConfigError, match="user name or password"):
        files.at("s3://user:secret/more@bucket/run")
    with pytest.raises(PolyfuseError, match="holds no run"):
        Run("s3://bucket/nothing")
    store.faults = Faults(errors=1.0)
    with pytest.raises(PolyfuseError, match="s3://bucket/else: the object store says") as error:
        files.at("s3://bucket/else")
    assert "\n" not in str(error.value)
