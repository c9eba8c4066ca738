"""Placement: what can't be scheduled says so at once; small, odd and unreachable clusters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from corpus import part_bytes, write_corpus

from pipeline import cluster, reach
from pipeline.errors import PolyfuseError
from pipeline.sources import SourceSpec
from pipeline.verify import verify

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def declared_gpu():
    """Two CPUs, and a GPU that is declared and not there."""
    ray.init(
        "local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    yield
    ray.shutdown()


def polyfuse(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=250,
    )  # fmt: skip


@pytest.mark.parametrize("wanted", [cluster.Resources(cpus=3), cluster.Resources(gpus=2)])
def test_what_no_node_can_hold_fails_at_once_with_the_reason(declared_gpu, wanted):
    with pytest.raises(PolyfuseError, match=r"needs .* on one node.*largest: 2 CPU, 1 GPU"):
        cluster.check_placeable(wanted, remote=False, say=lambda text: None)
    cluster.check_placeable(cluster.Resources(gpus=1), remote=False, say=lambda text: None)


def test_a_gpu_that_torch_cannot_use_is_not_used(declared_gpu):
    import torch

    assert reach.has_cuda() == torch.cuda.is_available()


def test_workers_that_see_another_disk_are_found_out_before_the_work(declared_gpu, tmp_path):
    config = write_corpus(tmp_path)
    source = SourceSpec(str(config.parent / "records.csv"), "sku", {}, ("photo",))
    (tmp_path / "lease").mkdir()
    reach.check(source, tmp_path / "lease")
    with pytest.raises(PolyfuseError, match="see the output folder"):
        reach.check(source, tmp_path / "elsewhere" / "lease")
    with pytest.raises(PolyfuseError, match="read the source"):
        reach.check(SourceSpec(str(tmp_path / "no.csv"), None, {}, ()), tmp_path / "lease")


def test_one_cpu_is_enough_for_everything(tmp_path):
    done = polyfuse("run", str(write_corpus(tmp_path)), "--set", "workers=1")
    assert done.returncode == 0, done.stderr
    audit = verify(tmp_path / "run")
    assert (audit.problems, audit.indexes, audit.pending) == ([], 4, 0)
    assert len(part_bytes(tmp_path / "run")) > 0


def test_an_address_where_nobody_answers_is_a_sentence(tmp_path):
    done = polyfuse("run", str(write_corpus(tmp_path)), "--address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "can't reach the Ray cluster at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
