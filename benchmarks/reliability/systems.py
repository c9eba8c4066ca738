"""Who is compared: how each is started, what its workers are called, where its vectors are."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from benchmarks import environment
from benchmarks.results import ROOT

DATATROVE = "datatrove[ray,io]==0.10.1"
_PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True)
class System:
    """One row. command: from the corpus and the output; worker: in the command line of its workers.

    explained: from the output, the ids of records whose failure is written there with its reason.
    """

    name: str
    command: Callable[[Path, Path], Sequence[str]]
    worker: str | None
    vectors: str = ""
    explained: Callable[[Path], set[str]] = lambda _: set()
    killed: bool = True  # False: compared on broken media only


def systems(folder: Path) -> list[System]:
    """All of them. folder: for the virtual environment of those we do not depend on."""
    return [
        System("polyfuse", _polyfuse, "MapBatches(RayWorker)", "features/picture", _errors),
        System("Ray Data, append", _program("ray_data.py", "append"), "MapBatches(described)"),
        System(
            "Ray Data, overwrite", _program("ray_data.py", "overwrite"), "MapBatches(described)"
        ),
        System(
            "Ray Data, CheckpointConfig",
            _program("ray_data.py", "checkpoint"),
            "MapBatches(described)",
        ),
        System("Ray Data, drop", _program("ray_data.py", "drop"), None, killed=False),
        System("datatrove, Ray executor", _datatrove(folder), "RankWorker"),
        System("pq.write_table", _program("plain.py"), None),
    ]


def _polyfuse(corpus: Path, output: Path) -> Sequence[str]:
    settings = {
        "source": {"path": str(corpus / "table" / "*.parquet"), "id": "id"},
        "modalities": {"picture": {"kind": "image", "column": "path"}},
        "output": str(output),
        "workers": 2,
        "shard": {"records": 16},
        "max_error_rate": 0.5,
    }
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return [sys.executable, "-m", "jobs.cli", "extract", str(path)]


def _errors(output: Path) -> set[str]:
    if not (output / "errors").exists():
        return set()
    return set(pq.read_table(output / "errors", columns=["record_id"])["record_id"].to_pylist())


def _program(name: str, *options: str) -> Callable[[Path, Path], Sequence[str]]:
    def command(corpus: Path, output: Path) -> Sequence[str]:
        program = str(_PROGRAMS / name)
        return [sys.executable, program, str(corpus / "table"), str(output), *options]

    return command


def _datatrove(folder: Path) -> Callable[[Path, Path], Sequence[str]]:
    def command(corpus: Path, output: Path) -> Sequence[str]:
        program = _program("datatrove_ray.py")(corpus, output)
        same = ["ray", "pyarrow", "pillow", "numpy"]
        return [str(environment.made(folder, [DATATROVE], same)), *program[1:]]

    return command


# Ray waits a minute for a head that is gone; its workers find polyfuse's descriptor by this path.
VARIABLES = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(_PROGRAMS)]),
    "RAY_gcs_rpc_server_reconnect_timeout_s": "2",
}
