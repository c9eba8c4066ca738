"""Who is compared: how each is started, and the threads of every pool it has."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.speed import environments
from benchmarks.speed.cases import Case, encoder


@dataclass(frozen=True)
class System:
    """One row of a case.

    program: in `programs`, none for polyfuse itself; options: what it is told (what is set in our
    configuration); environment: one of
    `environments`, None for ours; threads: said on the page; share: it gets one record of so many,
    because it is slow: its rate is the same, its whole time that of fewer records; exports: it makes a
    form of the model of its own, once, before anything is timed.
    """

    name: str
    program: str | None
    threads: str
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: str | None = None
    share: int = 1
    exports: bool = False


_ALL = "torch: a thread per core, as it chooses"
_TWO = "two actors of one torch thread"

SYSTEMS = {
    system.name: system
    for system in (
        System("polyfuse", None, "workers: auto, one torch thread each", {"runtime": "torch"}),
        System("polyfuse, OpenVINO", None, "workers: auto, one thread each", {"runtime": "auto"}),
        System(
            "polyfuse, told", None, "as polyfuse, OpenVINO",
            {"precision": "bf16", "runtime": "openvino"},
        ),
        System("sentence-transformers", "sentences", _ALL, {}, "sentences", share=2),
        System(
            "sentence-transformers, bf16", "sentences", _ALL,
            {"dtype": "bfloat16"}, "sentences",
        ),
        System(
            "sentence-transformers, OpenVINO", "sentences",
            "OpenVINO: streams and threads as it chooses", {"backend": "openvino"}, "openvino",
            exports=True,
        ),
        System(
            "Ray Data, documented", "ray_data", "one actor; torch: one thread, set by Ray",
            {"batch": 16, "actors": 1, "cpus": 1}, share=4,
        ),
        System(
            "Ray Data, tuned", "ray_data", _TWO,
            {"dtype": "bfloat16", "batch": 64, "micro": 16, "actors": 2, "cpus": 0.5, "blocks": 16},
        ),
        System("Daft", "daft_embed", _ALL, {}, "daft", share=2),
        System(
            "clip-retrieval", "clip_retrieval_hf", _ALL + "; two processes that decode",
            {"num_prepro_workers": 2}, "clip", share=2,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Start:
    """A system on a table: the command, and where its vectors come to lie."""

    command: Sequence[str]
    output: Path
    id_column: str = "id"


def start(
    system: System, case: Case, table: Path, models: Mapping[str, Path], folder: Path, cache: Path
) -> Start:
    """Write what the system reads into the folder (new, its own).

    Raises:
        NotInstalled: its environment can't be made.
    """
    python = str(environments.python(system.environment, cache))
    output = folder / "output"
    if system.program is None:
        config = folder / "polyfuse.yaml"
        config.write_text(
            yaml.safe_dump(configuration(case, table, models, output, system.options))
        )
        command = [python, "-m", "jobs.cli", "extract", str(config)]
        return Start(command, output / "features", "record_id")
    setting = folder / "setting.json"
    told = {
        "table": str(table), "kind": case.kind, "output": str(output), "options": dict(system.options),
        "models": {modality: str(path) for modality, path in models.items()},
        "exported": str(cache / "models" / f"{case.models.get('text')}-openvino"),
    }  # fmt: skip
    setting.write_text(json.dumps(told), encoding="utf-8")
    return Start(
        [python, "-m", f"benchmarks.speed.programs.{system.program}", str(setting)], output
    )


def configuration(
    case: Case,
    table: Path,
    models: Mapping[str, Path],
    output: Path,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a user of ours would write for the case: nothing about speed, but for the options."""
    modalities: dict[str, Any] = {}
    for modality, model in models.items():
        if modality == "video":
            frames = {"every": 1.0, "encoder": encoder(modality, model)}
            modalities[modality] = {"kind": "video", "column": "video", "frames": frames}
        else:
            wanted = {"column": modality, "encoder": encoder(modality, model)}
            modalities[modality] = {"kind": modality, **wanted}
    source = {"path": str(table), "id": "id"}
    about = {"source": source, "modalities": modalities, "output": str(output)}
    return about | dict(options or {})
