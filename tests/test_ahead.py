"""Helpers that prepare for a worker: real ones, on cores of their own; the network stays on the CPU."""

import shutil

import pytest
import ray
import yaml
from corpus import part_bytes, write_corpus

from chaos.in_process import without_ray
from pipeline import ahead, cluster, run
from pipeline import config as configuration
from pipeline.describe import describe, source_spec
from pipeline.lease import Lease
from pipeline.saved import Setting
from pipeline.units import Job
from pipeline.work import Worker

pytestmark = pytest.mark.ray
CORES, GPUS = 5, 2  # as Ray believes
BROKEN, MISSING = 3, 5  # of every twelve photos


@pytest.fixture(scope="module", autouse=True)
def cores_and_gpus():
    ray.init("local", num_cpus=CORES, num_gpus=GPUS, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def configured(folder):
    """Two shards of more than a chunk each; broken, missing and empty media, sounds as well."""
    path = write_corpus(folder, 90)
    settings = yaml.safe_load(path.read_text()) | {"shard": {"records": 45}}
    return configuration.parse(settings, folder)


@pytest.fixture
def aided(monkeypatch):
    """A pool of one worker, in this process, with three helpers of Ray's for photos and for sounds."""

    def stream(job, units, *_, **__):
        worker = Worker(job, {"photo": 3, "sound": 3})
        yield from map(worker.run, units)
        worker._end_helpers()

    monkeypatch.setattr(cluster, "stream", stream)


@pytest.fixture
def asked(monkeypatch):
    """Which rows helpers were given."""
    found = []

    def each(self, rows, watch, original=ahead.Helpers.each):
        return original(self, (found.append(row.record_id) or row for row in rows), watch)

    monkeypatch.setattr(ahead.Helpers, "each", each)
    return found


def test_the_bytes_are_those_of_a_worker_that_is_alone(tmp_path, aided, asked):
    # Of five cores: the helpers for photos must be gone before those for sounds can start.
    run.run(configured(tmp_path / "aided"), run.Options(("extract", "fuse")))
    assert len(asked) == 2 * 90
    with without_ray():
        run.run(configured(tmp_path / "alone"), run.Options(("extract", "fuse")))
    found, expected = part_bytes(tmp_path / "aided/run"), part_bytes(tmp_path / "alone/run")
    assert {name.partition("/")[0] for name in expected} >= {"records", "errors", "features"}
    assert found == expected


def test_a_retry_asks_them_for_what_failed_and_copies_the_rest(tmp_path, aided, asked):
    run.run(configured(tmp_path), run.Options(("extract",)))
    asked.clear()
    for number in range(MISSING, 90, 12):
        shutil.copy(tmp_path / "photo-0.png", tmp_path / f"photo-{number}.png")
    summary = run.retry(tmp_path / "run", run.Options(("extract",), retry=True))
    assert asked == [f"r{i:03d}" for i in range(90) if i % 12 in (BROKEN, MISSING)]
    assert summary.status.errors == {"DECODE_ERROR": len(range(BROKEN, 90, 12))}


@pytest.mark.parametrize("seeing", ["cpu", "cuda"])
def test_media_on_a_gpu_are_helped_by_the_cores_that_its_workers_leave(tmp_path, seeing):
    settings = {"photo": Setting("bf16", seeing), "title": Setting("bf16", "cuda")}
    saved = describe(configured(tmp_path), settings)
    job = Job(tmp_path / "run", saved, source_spec(saved.config), Lease(tmp_path, 0))
    assert ahead.helped(job) == ({"photo": 1} if seeing == "cuda" else {})


def test_without_a_core_to_spare_a_worker_decodes_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0, "GPU": 1.0})
    saved = describe(configured(tmp_path), {"photo": Setting("bf16", "cuda")})
    job = Job(tmp_path / "run", saved, source_spec(saved.config), Lease(tmp_path, 0))
    assert ahead.helped(job) == {}
