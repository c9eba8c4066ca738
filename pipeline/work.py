"""What is done with a unit: read, compute, write the parts, commit the marker.

A worker owns its shard from the first row to the marker. It builds an encoder when the first unit
needs it and keeps it while the units of that modality last, so that a node holds the models of one
modality at a time.
"""

import os
import pickle
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

import encoders
from encoders.base import Encoder
from pipeline import intact, onecore, records, schemas
from pipeline.ahead import HelperDied, Helpers, helped
from pipeline.errors import PolyfuseError
from pipeline.extract import Errors, Prepare, Shelf, columns_read, extract
from pipeline.isolate import decoder
from pipeline.ledger import Ledger, Marker
from pipeline.models import folder_of, inputs
from pipeline.plan import Plan
from pipeline.prepare import Preparer
from pipeline.sources import open_source
from pipeline.stopwatch import Stopwatch
from pipeline.store import PartFile, write_part
from pipeline.todo import Standing, count_items, extract_left, fuse_units, records_units
from pipeline.units import RECORDS, SPLIT, Job, Unit, extract_unit

_TRACE = "POLYFUSE_TRACEBACK" in os.environ


class Worker:
    """Runs units one after another, in whatever process.

    helped: how many helpers prepare for it, by modality. isolated: no medium is decoded in this process.
    """

    def __init__(
        self, job: Job, helped: Mapping[str, int] | None = None, *, isolated: bool = False
    ) -> None:
        self.job = job
        self._isolated = isolated
        self._helped = helped or {}
        self._helpers: dict[str, Helpers] = {}  # of one modality at a time
        self.config = job.saved.config
        self.ledger = Ledger(job.run)
        self.source = open_source(job.source, job.plan)
        self.schema = Plan.open(job.plan).schema
        self._encoders: dict[str, Encoder] = {}
        self._fusions: dict[str, Any] = {}
        self._label_file: Any = None

    def run(self, unit: Unit) -> dict[str, Any]:
        """Do one unit and whatever it completes; returns a small report for the driver.

        Raises:
            Refused: another writer has taken the run over; units that were waiting are not begun.
        """
        self.job.lease.check()
        # Ray repeats all units of a task whose worker died, those that were committed too.
        marker = self.ledger.find(unit.shard.number, unit.name, unit.revision)
        if marker is None or marker.work != unit.work:
            work = {
                "extract": self._extract,
                "records": self._records,
                "split": self._split,
                "fuse": self._fuse,
                "restore": self._restore,
            }
            marker = work[unit.kind](unit, time.monotonic())
        derived = self._complete(unit) if unit.kind == "extract" else []
        return _report([marker, *derived])

    def _extract(self, unit: Unit, started: float) -> Marker:
        try:
            return self._extract_from(unit, started)
        except HelperDied:
            # The attempt that killed it is on record: from now on in disposable processes.
            self._end_helpers()
            return self._extract_from(unit, started)

    def _extract_from(self, unit: Unit, started: float) -> Marker:
        watch = Stopwatch("start")
        attempt = self.ledger.attempt(unit.shard.number, unit.name)
        before = self._shelf(unit) if unit.retry else None
        rows = self.source.read(unit.shard, columns_read(self.config, unit.subject))
        built = self._encoders_of(unit.subject)
        with self._preparing(unit.subject, attempt, built, watch) as prepare:
            columns, errors = extract(
                rows, self.source, self.config, unit.subject, built, prepare, watch, before
            )
        watch.to("write")
        number = unit.shard.number
        parts = [
            write_part(self.job.run, f"features/{c.feature.name}", number, c.table())
            for c in columns
        ]
        states = {column.feature.name: "".join(column.states) for column in columns}
        count = len(columns[0].ids)
        return self._commit(unit, parts, errors, states, count, started, watch)

    @contextmanager
    def _preparing(
        self, modality: str, attempt: int, built: Mapping[str, Encoder], watch: Stopwatch
    ) -> Iterator[Prepare]:
        """By helpers, where this worker has some and no medium has ended a try; else by itself."""
        helpers = self._helpers_of(modality) if attempt == 1 else None
        if helpers:
            yield partial(helpers.each, watch=watch)
            return
        tool = decoder(self.config.media_limits, isolated=self._isolated or attempt > 1)
        try:
            yield Preparer(self.source, self.config, modality, built, tool, watch).each
        finally:
            tool.close()

    def _helpers_of(self, modality: str) -> Helpers | None:
        if modality not in self._helpers:
            self._end_helpers()
            if count := self._helped.get(modality):
                self._helpers[modality] = Helpers(self.job, modality, count)
        return self._helpers.get(modality)

    def _end_helpers(self) -> None:
        for helpers in self._helpers.values():
            helpers.close()
        self._helpers.clear()

    def _encoders_of(self, modality: str) -> Mapping[str, Encoder]:
        wanted = {}
        for feature in self.config.features(modality):
            setting = self.job.saved.settings[feature.name]
            key = f"{feature.encoder}{setting}"
            wanted[feature.name] = (key, feature, setting)
        keep = {key for key, _, _ in wanted.values()}
        self._encoders = {key: built for key, built in self._encoders.items() if key in keep}
        for key, feature, setting in wanted.values():
            if key not in self._encoders:
                self._encoders[key] = encoders.build(
                    feature.encoder,
                    precision=setting.precision,
                    device=setting.device,
                    runtime=setting.runtime,
                    batch=setting.batch,
                    shared=True,
                )
                onecore.single_threaded()
                onecore.give_back()
        return {name: self._encoders[key] for name, (key, _, _) in wanted.items()}

    def _shelf(self, unit: Unit) -> Shelf:
        marker = self.ledger.latest(unit.shard.number, unit.name)
        assert marker is not None, "a retry without a marker"
        vectors = {}
        for feature in self.config.features(unit.subject):
            part = marker.file(f"features/{feature.name}")
            column = intact.read(self.job.run / part.folder / part.name)["vector"]
            if feature.pool == "sequence":
                rows = [
                    None if v is None else np.asarray(v, np.float32) for v in column.to_pylist()
                ]
            else:
                matrix, valid = schemas.matrix_of(column)
                rows = [row if ok else None for row, ok in zip(matrix, valid, strict=True)]
            vectors[feature.name] = rows
        return Shelf(marker.states, vectors)

    def _complete(self, done: Unit) -> list[Marker]:
        """If this unit was the last of its shard's modalities: records/, and what `job.fuse` names.

        Two workers may both find that they were last: equal bytes, and the first marker wins. Or
        neither does, where what the other wrote is not to be seen yet: the driver then finds it.
        """
        saved = self.job.saved
        standing = Standing(done.shard, self.ledger.of_shard(done.shard.number))
        if any(extract_left([standing], saved)):
            return []
        markers = [
            self._records_from(standing.markers, unit, time.monotonic())
            for unit in records_units(standing, saved)
        ]
        for model in self.job.fuse:
            parts = standing.inputs(saved.config, model)
            markers += [
                self._fuse_from(parts, unit, time.monotonic())
                for unit in fuse_units(standing, saved, model)
            ]
        return markers

    def _records(self, unit: Unit, started: float) -> Marker:
        markers = {}
        for name in map(extract_unit, self.config.modalities):
            marker = self.ledger.latest(unit.shard.number, name)
            assert marker is not None, f"records before {name} is done"
            markers[name] = marker
        return self._records_from(markers, unit, started)

    def _records_from(self, markers: Mapping[str, Marker], unit: Unit, started: float) -> Marker:
        states: dict[str, str] = {}
        for name in map(extract_unit, self.config.modalities):
            states.update(markers[name].states)
        rows = self.source.read(unit.shard)
        table, errors, letters = records.derive(rows, self.schema, states)
        part = write_part(self.job.run, "records", unit.shard.number, table)
        return self._commit(unit, [part], errors, {"outcome": letters}, table.num_rows, started)

    def _split(self, unit: Unit, started: float) -> Marker:
        from pipeline.fit import labels, split

        marker = self.ledger.latest(unit.shard.number, RECORDS)
        assert marker is not None, "split before records are there"
        part = marker.file(RECORDS)
        table = intact.read(self.job.run / part.folder / part.name)
        own = self.config.label
        if own and own.file and self._label_file is None:
            self._label_file = labels.read_file(own, self.config.source.id)
        values = labels.values_of(table, own, self._label_file) if own else None
        table = split.derive(table, self.config.split, values)
        written = write_part(self.job.run, SPLIT, unit.shard.number, table)
        return self._commit(unit, [written], Errors(), {}, table.num_rows, started)

    def _fuse(self, unit: Unit, started: float) -> Marker:
        parts = input_parts(self.job, self.ledger, unit.shard.number, unit.subject)
        return self._fuse_from(parts, unit, started)

    def _fuse_from(self, parts: Mapping[str, PartFile], unit: Unit, started: float) -> Marker:
        from pipeline.fuse import fuse, load_model  # torch: extraction may not need it

        if unit.subject not in self._fusions:
            self._fusions[unit.subject] = load_model(self.job.run / "models" / unit.subject)
            onecore.single_threaded()
        table = fuse(self.job.run, parts, self._fusions[unit.subject])
        part = write_part(self.job.run, f"fused/{unit.subject}", unit.shard.number, table)
        return self._commit(unit, [part], Errors(), {}, table.num_rows, started)

    def _restore(self, unit: Unit, started: float) -> Marker:
        from pipeline.restore import Restorer  # torch

        if unit.name not in self._fusions:
            folder = self.job.run / "models" / unit.subject
            features = [feature.name for feature in self.config.features()]
            self._fusions[unit.name] = Restorer(folder, features)
            onecore.single_threaded()
        parts = input_parts(self.job, self.ledger, unit.shard.number, unit.subject)
        tables = self._fusions[unit.name].restore(self.job.run, parts)
        written = [
            write_part(self.job.run, f"restored/{unit.subject}/{name}", unit.shard.number, table)
            for name, table in tables.items()
        ]
        rows = unit.shard.rows
        return self._commit(unit, written, Errors(), {}, rows, started)

    def _commit(
        self,
        unit: Unit,
        parts: Sequence[PartFile],
        errors: Errors,
        states: Mapping[str, str],
        rows: int,
        started: float,
        watch: Stopwatch | None = None,
    ) -> Marker:
        written = list(parts)
        if errors.rows:
            written.append(write_part(self.job.run, "errors", unit.shard.number, errors.table()))
        marker = Marker(
            shard=unit.shard.number,
            unit=unit.name,
            work=unit.work,
            rows=rows,
            files=tuple(written),
            states=states,
            errors=errors.reasons(),
            seconds=round(time.monotonic() - started, 3),
            spent=watch.seconds() if watch else {},
            finished=round(time.time(), 3),
            revision=unit.revision,
        )
        self.ledger.commit(marker, self.job.lease)
        return marker


def input_parts(job: Job, ledger: Ledger, shard: int, model: str) -> dict[str, PartFile]:
    """The parts of one shard that a model takes, by name."""
    config = job.saved.config
    parts = {}
    for name in inputs(config, model):
        unit = f"fuse.{name}" if name in config.models else extract_unit(name.partition(".")[0])
        marker = ledger.latest(shard, unit)
        assert marker is not None, f"{model} before {name} is done"
        parts[name] = marker.file(folder_of(config, name))
    return parts


def _report(markers: Sequence[Marker]) -> dict[str, Any]:
    """What the driver needs to know about a finished unit, the first, and those that it completed."""
    marker = markers[0]
    tried, failed = count_items(marker)
    return {
        "unit": marker.unit,
        "shard": marker.shard,
        "rows": marker.rows,
        "tried": tried,
        "failed": failed,
        "errors": dict(marker.errors),
        "seconds": marker.seconds,
        "markers": [(found.unit, found.revision) for found in markers],
    }


class RayWorker(Worker):
    """The same, as Ray Data calls it: a batch of one pickled unit in, a batch of one report out.

    Built once per actor, whose process is all its own. An exception travels in the report: raised
    here, Ray Data would wrap it beyond recognition.
    """

    def __init__(self, job: Job) -> None:
        onecore.begin()
        super().__init__(job, helped(job))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """batch: {"unit": [pickled Unit]}."""
        return {"report": [self._try(pickle.loads(unit)) for unit in batch["unit"]]}

    def _try(self, unit: Unit) -> bytes:
        try:
            return pickle.dumps(self.run(unit))
        except PolyfuseError as err:
            return pickle.dumps(err)
        except Exception as err:
            trace = traceback.format_exc()
            sentence = f"{unit.name} of shard {unit.shard.number}: {type(err).__name__}: {err}"
            return pickle.dumps(PolyfuseError(f"{sentence}\n{trace}" if _TRACE else sentence))
