"""One case: its corpus, its systems in turn, and what their vectors are worth."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from benchmarks.results import ROOT
from benchmarks.speed import corpora, meter, models, summary, systems
from benchmarks.speed.cases import Case
from benchmarks.speed.systems import SYSTEMS, System
from pipeline.ledger import Ledger

TIMEOUT = 600.0  # seconds for one run of one system
COMPARED = 256  # records at most whose vectors are compared with those in fp32
_READING, _NETWORK = ("fetch", "decode", "prepare"), ("encode",)  # steps of ours
_SHARE = max(system.share for system in SYSTEMS.values())


@dataclass(frozen=True)
class Bench:
    """A case made ready. corpus: the folder of its table; cache: where environments lie."""

    case: Case
    corpus: Path
    models: Mapping[str, Path]
    cache: Path

    @classmethod
    def ready(cls, case: Case, cache: Path, data: Path, times: int = 1) -> "Bench":
        """Makes what is not there: minutes, once. times: so many times the records."""
        corpus = corpora.write(case.corpus, case.items * times, cache / "corpora", data)
        found = {
            modality: models.locate(name, cache, data) for modality, name in case.models.items()
        }
        return cls(case, corpus, found, cache)

    def run(self, system: System, *, small: bool = False) -> dict[str, Any]:
        """A fresh process over the system's share of the table, or over the few of a cold start.

        Returns:
            seconds, cpu, peak, load, products; items; rate, where it noted any; for ours share, of its
            workers' time that went into what the goal of the case is a share of; or failure.

        Raises:
            NotInstalled: the system can't be had here.
        """
        table = self.corpus / "small.csv" if small else self._share(system.share)
        with tempfile.TemporaryDirectory(prefix="speed-", dir=self.cache) as folder:
            started = systems.start(system, self.case, table, self.models, Path(folder), self.cache)
            usage = meter.measure(started.command, Path(folder, "log"), timeout=TIMEOUT)
            run: dict[str, Any] = {**vars(usage), "items": len(corpora.read(table))}
            if usage.failure:
                return run
            if noted := _events(system, Path(folder, "output")):
                run["rate"] = summary.in_turn([summary.steady(events) for events in noted])
            if noted and system.program is None:
                steps = (*_READING, *_NETWORK) if self.case.additive else _NETWORK
                run["share"] = summary.share(noted, steps, os.cpu_count() or 1)
            if not small:
                run["accuracy"] = self._accuracy(system, started)
            return run

    def _share(self, share: int) -> Path:
        """The table of every so many-th record."""
        path = self.corpus / f"table-{share}.csv"
        if not path.exists():
            lines = (self.corpus / "table.csv").read_text(encoding="utf-8").splitlines(True)
            path.write_text("".join([lines[0], *lines[1::share]]), encoding="utf-8")
        return path

    # -- accuracy

    def _accuracy(self, system: System, started: systems.Start) -> dict[str, Any]:
        reference = self.reference()
        found = vectors_of(self.case, system, started)
        ids = [record for record in reference if record in found]
        if len(ids) < len(reference):
            return {"missing": len(reference) - len(ids)}
        pair = (np.stack([some[record] for record in ids]) for some in (found, reference))
        return summary.accuracy(*pair) | {"compared": len(ids)}

    def reference(self) -> dict[str, np.ndarray]:
        """Vectors in fp32 of records that every system has; computed once."""
        name = "-".join(self.case.models.values())
        folder = self.corpus / f"reference-{name}"
        if not (folder / "vectors.parquet").exists():
            table = self.corpus / "compared.csv"
            lines = self._share(_SHARE).read_text(encoding="utf-8").splitlines(True)
            table.write_text("".join(lines[: COMPARED + 1]), encoding="utf-8")
            told = {"table": str(table), "output": str(folder), "models": _strings(self.models)}
            setting = self.corpus / "reference.json"
            setting.write_text(json.dumps(told), encoding="utf-8")
            command = [sys.executable, "-m", "benchmarks.speed.programs.plain", str(setting)]
            subprocess.run(command, check=True, cwd=ROOT)
        return _vectors(folder, "id")

    # -- parts

    def parts(self, processes: int) -> list[dict[str, Any]]:
        """Decoding and model alone, in so many processes at a time."""
        with tempfile.TemporaryDirectory(prefix="speed-", dir=self.cache) as folder:
            config = Path(folder, "run.yaml")
            table = Path(folder, "table.csv")
            everything = corpora.read(self.corpus / "table.csv")
            corpora.write_table(table, corpora.like_all(everything, self.case.sample))
            content = systems.configuration(self.case, table, self.models, Path(folder, "run"))
            config.write_text(yaml.safe_dump(content), encoding="utf-8")
            setting = Path(folder, "setting.json")
            told = {"config": str(config), "folder": folder}
            setting.write_text(json.dumps(told), encoding="utf-8")
            program = [sys.executable, "-m", "benchmarks.speed.parts", str(setting)]
            # Of numpy, too, as in a worker of Ray.
            one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
            running = [
                subprocess.Popen(
                    [*program, str(number)], cwd=ROOT, text=True, env=one_thread,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )
                for number in range(processes)
            ]  # fmt: skip
            for process in running:
                assert process.stdout is not None
                process.stdout.readline()  # ready
            outputs = [(process, process.stdin) for process in running]
            for _, pipe in outputs:
                assert pipe is not None
                pipe.write("go\n")
                pipe.flush()
            return [json.loads(process.communicate()[0]) for process in running]


def vectors_of(case: Case, system: System, started: systems.Start) -> dict[str, np.ndarray]:
    """What a run left: {record: vector}, those of several modalities one after the other."""
    if system.program is not None:
        return _vectors(started.output, started.id_column)
    names = ["video.frames" if name == "video" else name for name in case.models]
    parts = [_vectors(started.output / name, started.id_column) for name in names]
    return {
        record: np.concatenate([part[record] for part in parts])
        for record in parts[0]
        if all(record in part for part in parts)
    }


def _vectors(folder: Path, id_column: str) -> dict[str, np.ndarray]:
    table = pq.read_table(folder, columns=[id_column, "vector"])
    pairs = zip(table[id_column].to_pylist(), table["vector"].to_pylist(), strict=True)
    return {
        record: np.asarray(vector, np.float32) for record, vector in pairs if vector is not None
    }


def _events(system: System, output: Path) -> list[list[dict[str, Any]]]:
    """What it noted, by what it did one after the other: ours a modality, others whole records."""
    if system.program is None:
        return list(events_of(Ledger(output)).values())
    notes = output.with_name(f"{output.name}.events")
    return [[json.loads(line) for line in notes.read_text().splitlines()]] if notes.exists() else []


def events_of(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    """{start, finish, items, spent} of every shard of ours, by modality."""
    found: dict[str, list[dict[str, Any]]] = {}
    for marker in ledger.scan():
        kind, _, modality = marker.unit.partition(".")
        if kind == "extract":
            start = marker.finished - marker.seconds
            event = {"start": start, "finish": marker.finished, "items": marker.rows}
            found.setdefault(modality, []).append(event | {"spent": marker.spent})
    return found


def _strings(paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items()}
