"""The job on a real cluster of several raylets on this machine gives the bytes of the local run."""

import subprocess
import sys
from pathlib import Path

import pytest
from corpus import part_bytes, write_corpus

from chaos.in_process import without_ray
from pipeline import config as configuration
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


def test_three_nodes_give_the_same_bytes_as_one_process(tmp_path):
    for folder in ("many", "one"):
        write_corpus(tmp_path / folder)
    command = [sys.executable, "-c", CLUSTER, str(tmp_path / "many" / "run.yaml")]
    many = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert many.returncode == 0, many.stdout + many.stderr
    with without_ray():
        run(configuration.load(tmp_path / "one" / "run.yaml"))
    assert part_bytes(tmp_path / "many" / "run") == part_bytes(tmp_path / "one" / "run")
