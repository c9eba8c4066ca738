"""Several hosts with a network between them: one dies, one is cut off, the head restarts.

Whatever happens, the run ends, or is taken up again, with the bytes of a run in one process.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from corpus import part_bytes
from PIL import Image

from chaos import namespaces
from chaos.in_process import without_ray
from chaos.ray_hosts import RayHosts
from pipeline import config as configuration
from pipeline.ledger import Ledger
from pipeline.results import Run
from pipeline.run import Options, run
from pipeline.verify import verify

REASON = namespaces.why_not()
pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]
RECORDS, SIDE = 72, 2000
EXTRACT = Options(stages=("extract",))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with RayHosts(tmp_path_factory.mktemp("hosts")) as hosts:
        hosts.start("one", "two", "three")
        yield hosts


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Large ones: a shard of eight takes about a second, long enough to be caught at it."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = np.arange(SIDE, dtype=np.uint16)
    for i in range(4):
        pixels = (rows[:, None] * (i + 1) + rows[None, :]).astype(np.uint8)
        Image.fromarray(np.stack([pixels] * 3, axis=2)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def undisturbed(pictures, tmp_path_factory) -> dict[str, bytes]:
    return in_this_process(tmp_path_factory.mktemp("undisturbed"), pictures)


def configure(folder: Path, pictures: Path, size: int = 8) -> Path:
    """A run over the pictures, a sixth of them missing."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = [pictures / f"{i % 6}.png" if i % 6 < 4 else "" for i in range(RECORDS)]
    table = ["sku,photo", *(f"r{i:02d},{cell}" for i, cell in enumerate(cells))]
    (folder / "records.csv").write_text("\n".join(table) + "\n")
    data = {
        "source": {"path": "records.csv", "id": "sku"},
        "modalities": {"photo": {"kind": "image", "encoder": {"name": "pixels", "size": size}}},
        "output": "run",
        "shard": {"records": 8},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def in_this_process(folder: Path, pictures: Path, size: int = 8) -> dict[str, bytes]:
    """The parts of the same run in this process."""
    config = configure(folder, pictures, size)
    with without_ray():
        run(configuration.load(config), EXTRACT)
    return part_bytes(folder / "run")


def wait_until(true: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def at_work(host: namespaces.Host) -> list[int]:
    """The processes of our workers on a host that are in the middle of a shard."""
    return [
        pid
        for pid, line in host.processes().items()
        if line.startswith("ray::") and "RayWorker" in line and ".submit" in line
    ]


def idle(host: namespaces.Host) -> bool:
    """Whether no worker there is at work for a second: between two shards it is less."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        if at_work(host):
            return False
        time.sleep(0.05)
    return True


def ends(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return said


def test_a_node_dies_and_another_is_cut_off_and_comes_back(
    cluster, pictures, undisturbed, tmp_path
):
    config = configure(tmp_path, pictures)
    command = cluster.polyfuse("one", "extract", str(config))
    wait_until(lambda: at_work(cluster.workers["two"]) and at_work(cluster.workers["three"]))
    cluster.workers["two"].end()
    cluster.workers["three"].cut()
    ledger = Ledger(tmp_path / "run")
    before = sum(1 for _ in ledger.scan())
    wait_until(lambda: sum(1 for _ in ledger.scan()) > before + 1)
    cluster.workers["three"].mend()
    ends(command)
    cluster.workers["three"].end()
    assert part_bytes(tmp_path / "run") == undisturbed
    audit = verify(tmp_path / "run")
    assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)


def test_the_work_of_a_node_that_was_cut_off_is_refused_when_another_driver_took_over(
    cluster, pictures, tmp_path
):
    folder = tmp_path / "many" / "run"
    cluster.start("one", "two", RAY_gcs_rpc_server_reconnect_timeout_s="600")  # two lives on alone
    first = configure(tmp_path / "many", pictures)
    command = cluster.polyfuse("one", "extract", str(first))
    two = cluster.workers["two"]
    stale = freeze_in_a_shard(two, cluster.workers["one"], folder)
    two.cut()
    for pid, line in cluster.workers["one"].processes().items():
        if "jobs.cli" in line:
            os.kill(pid, signal.SIGKILL)
    command.communicate()

    second = configure(tmp_path / "many", pictures, size=12)
    ends(cluster.polyfuse("one", "extract", str(second), "--restart"))
    markers = sorted((folder / "ledger").rglob("*"))
    os.kill(stale, signal.SIGCONT)
    wait_until(
        lambda: verify(folder).garbage
    )  # the part of its shard, which it was about to commit
    time.sleep(2)  # the commit is the next thing it does
    assert sorted((folder / "ledger").rglob("*")) == markers
    audit = verify(folder)
    assert audit.problems == []
    assert [name.partition("-")[0] for name in audit.garbage] == ["features/photo/part"]
    two.mend()
    wanted = in_this_process(tmp_path / "one", pictures, size=12)
    ours, theirs = (Run(tmp_path / name / "run").vectors("photo") for name in ("many", "one"))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert verify(folder, clean=True).cleaned == 1
    assert part_bytes(folder) == wanted


def freeze_in_a_shard(host: namespaces.Host, other: namespaces.Host, run: Path) -> int:
    """Stop the worker of a host in the middle of a shard; that of the only other host goes on until
    nothing else is left to do. Then the note of an attempt that is still there is of this shard."""
    for _ in range(20):
        wait_until(lambda: at_work(host))
        pid = at_work(host)[0]
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: idle(other))
        if list((run / "ledger").rglob("*.attempt-*")):
            return pid
        os.kill(pid, signal.SIGCONT)
    raise AssertionError("the worker was never in the middle of a shard")


def test_when_the_head_restarts_the_command_says_so_and_the_next_one_continues(
    cluster, pictures, undisturbed, tmp_path
):
    config = configure(tmp_path, pictures)
    cluster.start("one")
    one = cluster.workers["one"]
    command = cluster.polyfuse("one", "extract", str(config))
    wait_until(lambda: at_work(one) and any(Ledger(tmp_path / "run").scan()))
    cluster.head.end()
    said, _ = command.communicate(timeout=90)
    assert command.returncode == 1, said
    assert "Traceback" not in said
    assert "run the same command again" in said, said

    one.end()  # its Ray belongs to a head that is no more
    cluster.start("one")
    ends(cluster.polyfuse("one", "extract", str(config)))
    assert part_bytes(tmp_path / "run") == undisturbed
