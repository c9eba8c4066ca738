"""What several raylets on this machine make, as a cluster, has the bytes of what one process makes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corpus import part_bytes, write_corpus
from stored import index, save_config, write_run

from chaos.in_process import without_ray
from pipeline import config as configuration
from pipeline.index import manifests
from pipeline.index.jobs import wanted
from pipeline.run import run

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parent.parent

# In a process of its own: a cluster's environment must not reach the other tests.
CLUSTER = """
import subprocess, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
for _ in range(2):
    cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
command = [sys.executable, "-m", "jobs.cli", "run", sys.argv[1], "--address", cluster.address,
           "--set", "workers=auto"]
code = subprocess.run(command).returncode
cluster.shutdown()
sys.exit(code)
"""

INDEX = """
import sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from pipeline.index import jobs
from pipeline.progress import Silent
from pipeline.saved import load_saved
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
ray.init(cluster.address, log_to_driver=False)
jobs._SMALL = 0
run = Path(sys.argv[1])
jobs.build(run, jobs.wanted(load_saved(run))[:1], int(sys.argv[2]), Silent())
filled = []
for _ in range(30):  # what happened is reported once a second
    filled = [e for e in ray.timeline() if e["name"] == "pipeline.index.shards.fill"]
    if len(filled) >= 3:
        break
    time.sleep(1)
print("shares filled:", len(filled))
ray.shutdown()
cluster.shutdown()
"""


def test_three_nodes_give_the_same_bytes_as_one_process(tmp_path):
    for folder in ("many", "one"):
        write_corpus(tmp_path / folder)
    command = [sys.executable, "-c", CLUSTER, str(tmp_path / "many" / "run.yaml")]
    many = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert many.returncode == 0, many.stdout + many.stderr
    with without_ray():
        run(configuration.load(tmp_path / "one" / "run.yaml"))
    assert part_bytes(tmp_path / "many" / "run") == part_bytes(tmp_path / "one" / "run")


def test_an_index_that_two_nodes_fill_is_that_of_one(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(12_000, 16)).astype("f4")
    folder, memory = tmp_path / "run", 1_500_000
    saved = save_config(folder, {"v": {"kind": "vector", "encoder": {"name": "as-is", "dim": 16}}})
    snapshot = write_run(folder, {"v": vectors})
    [job, _] = wanted(saved)
    alone = index(snapshot, "v", memory=memory, identities=job.identities)
    assert manifests.read_manifest(alone).type.startswith("IVF")
    command = [sys.executable, "-c", INDEX, str(folder), str(memory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert "shares filled: 3" in done.stdout, done.stdout + done.stderr
    helped = manifests.current(folder / "index" / "v")
    assert helped != alone
    for name in (*manifests.FILES, "manifest.json"):
        assert (helped / name).read_bytes() == (alone / name).read_bytes()
