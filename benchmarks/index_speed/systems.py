"""Who is compared, in which Python, and one question to one of them."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import environment
from benchmarks.index_speed import sets
from benchmarks.results import ROOT

PEERS = {"hnswlib": "0.8.0", "usearch": "2.26.6", "lancedb": "0.40.0"}
_PROGRAM = Path(__file__).with_name("programs") / "ask.py"
_POOLS = ("OMP_NUM_THREADS", "LANCE_CPU_THREADS", "RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS")


@dataclass(frozen=True)
class System:
    """One row. program: module:class below programs/; index: whose index it searches, its own if empty;
    peer: runs in the environment of those we do not depend on; batch: whether it takes many queries."""

    name: str
    program: str
    index: str = ""
    peer: bool = False
    batch: bool = True


SYSTEMS = (
    System("polyfuse, `search_many`", "polyfuse:System"),
    System("polyfuse, `search`", "polyfuse_hits:System", index="polyfuse:System", batch=False),
    System("FAISS by itself", "faiss:System"),
    System("hnswlib", "hnswlib:System", peer=True),
    System("usearch", "usearch:System", peer=True),
    System("LanceDB IVF_PQ", "lancedb:System", peer=True),
    System("LanceDB IVF_FLAT", "lancedb:Whole", peer=True),
    System("LanceDB IVF_HNSW_SQ", "lancedb:Graph", peer=True),
    System("exact (FAISS Flat)", "exact:System"),
)


@dataclass(frozen=True)
class Place:
    """Where a set lies, where its indexes go, and the peers' environment."""

    vectors: Path
    indexes: Path
    environment: Path
    metric: str

    def ask(self, system: System, threads: int, task: str, *rest: float) -> dict[str, Any]:
        """What the program of a system answers, in a process of its own.

        task: prepare | build | tune | single | batch, see `programs/ask.py`.
        """
        own = (system.index or system.program).replace(":", "-")
        python = self._peers() if system.peer else Path(sys.executable)
        arguments = [system.program, f"{self.metric}:{self.vectors}", str(self.indexes / own)]
        command = [str(python), str(_PROGRAM), *arguments, str(threads), task, *map(str, rest)]
        variables = os.environ | dict.fromkeys(_POOLS, str(threads)) | {"RUST_LOG": "error"}
        if not system.peer:
            variables["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    def _peers(self) -> Path:
        packages = [f"{name}=={number}" for name, number in PEERS.items()]
        return environment.made(self.environment, packages, same=["numpy"])


def place(name: str, rows: int, data: Path, folder: Path) -> Place:
    """A set, made where it is missing. rows: of a generated one."""
    own = folder / (name if name == "mnist" else f"{name}-{rows}")
    sets.write(name, own / "set", data, rows)
    return Place(own / "set", own / "indexes", folder / "peers", sets.METRICS[name])
