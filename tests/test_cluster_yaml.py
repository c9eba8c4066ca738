"""cluster.yaml against Ray's own schema, and the Kubernetes manifest against what it must say."""

import json
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rayjob():
    return yaml.safe_load((ROOT / "configs" / "rayjob.yaml").read_text(encoding="utf-8"))


def test_it_fits_the_schema_of_rays_cluster_launcher(cluster):
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(cluster, json.loads(schema.read_text(encoding="utf-8")))


def test_a_misspelt_key_would_be_found(cluster):
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        jsonschema.validate(
            cluster | {"idle_timeout": 5}, json.loads(schema.read_text(encoding="utf-8"))
        )


def test_cpu_workers_scale_to_nothing_and_a_gpu_is_there_when_a_run_looks_for_one(cluster):
    types = cluster["available_node_types"]
    assert types["cpu"]["max_workers"] > types["cpu"]["min_workers"] == 0
    assert types["gpu"]["max_workers"] > types["gpu"]["min_workers"] == 1
    assert types["gpu"]["resources"]["GPU"] >= 1
    assert types[cluster["head_node_type"]]["resources"]["CPU"] == 0
    assert cluster["max_workers"] >= types["cpu"]["max_workers"] + types["gpu"]["max_workers"]


def test_nobody_gets_in_without_the_token(cluster):
    starts = cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
    starts = [command for command in starts if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]


def test_nodes_install_exactly_the_lock_and_this_version_of_ray(cluster):
    commands = "\n".join(cluster["setup_commands"])
    assert "--no-deps -r ~/polyfuse/requirements.lock" in commands
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    (pinned,) = (line.partition("==")[2] for line in lock if line.startswith("ray=="))
    images = [cluster["docker"]["image"]]
    images += [cluster["available_node_types"]["gpu"]["docker"]["worker_image"]]
    assert all(f":{pinned}-py311" in image for image in images)


def test_the_kubernetes_job_runs_the_same_command_with_a_token(rayjob):
    spec = rayjob["spec"]
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    command, config = spec["entrypoint"].rsplit(" ", 1)
    assert command == "python -m jobs.cli run"
    assert (ROOT / config).exists()
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert spec["rayClusterSpec"]["rayVersion"] == ray.__version__
    workers = {group["groupName"]: group for group in spec["rayClusterSpec"]["workerGroupSpecs"]}
    for group in workers.values():
        assert group["minReplicas"] == 0 < group["maxReplicas"]
    (gpu,) = workers["gpu"]["template"]["spec"]["containers"]
    assert int(gpu["resources"]["limits"]["nvidia.com/gpu"]) >= 1
