"""What is left to do: the plan against the ledger."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import records
from pipeline.config import RunConfig
from pipeline.errors import PolyfuseError
from pipeline.files import short_digest
from pipeline.ledger import FAILED, VECTOR, Ledger, Marker
from pipeline.models import Record, folder_of, inputs, restore_digest, work_digest
from pipeline.plan import Plan, Shard
from pipeline.saved import SavedRun
from pipeline.store import PartFile
from pipeline.units import RECORDS, SPLIT, Unit, extract_unit, fuse_unit, restore_unit


@dataclass
class Done:
    """The ledger in memory, without the states: what each unit's newest marker says."""

    work: dict[tuple[int, str], tuple[str, int]] = field(
        default_factory=dict
    )  # (shard, unit) -> work, revision
    parts: dict[tuple[int, str], PartFile] = field(default_factory=dict)  # (shard, folder) -> part
    failed: set[tuple[int, str]] = field(default_factory=set)  # units with failed rows
    tried: Counter[str] = field(default_factory=Counter)  # by modality
    lost: Counter[str] = field(default_factory=Counter)

    @classmethod
    def scan(cls, ledger: Ledger, plan: Plan) -> "Done":
        """Read every newest marker once; those of shards that were retired say nothing any more."""
        done, live = cls(), plan.live
        for marker in ledger.scan():
            if marker.shard in live:
                done.add(marker)
        return done

    def add(self, marker: Marker) -> None:
        """Take one marker in."""
        self.work[marker.shard, marker.unit] = (marker.work, marker.revision)
        for part in marker.files:
            if part.folder != "errors":
                self.parts[marker.shard, part.folder] = part
        kind, _, modality = marker.unit.partition(".")
        if kind == "extract":
            tried, failed = count_items(marker)
            self.tried[modality] += tried
            self.lost[modality] += failed
            if failed:
                self.failed.add((marker.shard, marker.unit))

    def inputs(self, config: RunConfig, model: str, shard: int) -> dict[str, PartFile]:
        """The parts of one shard that a model takes, by name.

        Raises:
            PolyfuseError: a marker does not name the part that it is for.
        """
        folders = {name: folder_of(config, name) for name in inputs(config, model)}
        for folder in folders.values():
            if (shard, folder) not in self.parts:
                raise PolyfuseError(f"ledger: no marker of shard {shard} names a part of {folder}")
        return {name: self.parts[shard, folder] for name, folder in folders.items()}

    def is_done(self, shard: int, unit: str, work: str) -> bool:
        """Whether the newest marker is of exactly this work."""
        return self.work.get((shard, unit), ("", 0))[0] == work

    def next_revision(self, shard: int, unit: str) -> int:
        """The revision a new marker gets."""
        found = self.work.get((shard, unit))
        return found[1] + 1 if found else 0


def count_items(marker: Marker) -> tuple[int, int]:
    """(items that were there, items of which a feature failed) of one extract marker."""
    rows = list(zip(*marker.states.values(), strict=True))
    there = sum(any(letter in (VECTOR, FAILED) for letter in row) for row in rows)
    return there, sum(FAILED in row for row in rows)


def extract_units(plan: Plan, done: Done, saved: SavedRun, modality: str) -> Iterator[Unit]:
    """The shards of one modality that are not done with the wanted identity."""
    name, work = extract_unit(modality), saved.work(modality)
    for shard in plan.shards():
        if not done.is_done(shard.number, name, work):
            yield Unit(name, shard, work, done.next_revision(shard.number, name))


def extract_left(plan: Plan, done: Done, saved: SavedRun) -> Iterator[Unit]:
    """The same over all modalities."""
    for modality in saved.config.modalities:
        yield from extract_units(plan, done, saved, modality)


def retry_units(plan: Plan, done: Done, saved: SavedRun, modality: str) -> Iterator[Unit]:
    """The finished shards of one modality in which rows failed."""
    name, work = extract_unit(modality), saved.work(modality)
    for shard in plan.shards():
        if (shard.number, name) in done.failed and done.is_done(shard.number, name, work):
            yield Unit(name, shard, work, done.next_revision(shard.number, name), retry=True)


def records_units(plan: Plan, ledger: Ledger, saved: SavedRun) -> Iterator[Unit]:
    """The shards whose records/ a killed worker left underived."""
    for shard in plan.shards():
        unit = records_unit(saved, ledger, shard)
        if unit:
            yield unit


def records_unit(saved: SavedRun, ledger: Ledger, shard: Shard) -> Unit | None:
    """The unit that derives records/ of a shard; None while a modality is missing, or when it is done."""
    markers = []
    for modality in saved.config.modalities:
        marker = ledger.latest(shard.number, extract_unit(modality))
        if marker is None or marker.work != saved.work(modality):
            return None
        markers.append(marker)
    work = records.work_digest(markers)
    latest = ledger.latest(shard.number, RECORDS)
    if latest and latest.work == work:
        return None
    return Unit(RECORDS, shard, work, revision=latest.revision + 1 if latest else 0)


def split_units(plan: Plan, done: Done, saved: SavedRun, label_file: str | None) -> Iterator[Unit]:
    """The shards whose records don't know yet, or no longer, to which part of the split they belong.

    label_file: sha256 of the file that the labels are in.
    """
    label = saved.config.label
    for shard in plan.shards():
        work = short_digest(
            {
                "split": saved.config.split.model_dump(),
                "label": label.model_dump(include={"column", "id"}) if label else None,
                "file": label_file,
                "records": done.parts[shard.number, RECORDS].sha256,
            }
        )
        if not done.is_done(shard.number, SPLIT, work):
            yield Unit(SPLIT, shard, work, done.next_revision(shard.number, SPLIT))


def fuse_units(plan: Plan, done: Done, saved: SavedRun, model: str) -> Iterator[Unit]:
    """The shards whose fused part is missing or was made from other inputs."""
    name, identity = fuse_unit(model), saved.identities[model]
    for shard in plan.shards():
        work = work_digest(identity, done.inputs(saved.config, model, shard.number))
        if not done.is_done(shard.number, name, work):
            yield Unit(name, shard, work, done.next_revision(shard.number, name))


def restore_units(
    plan: Plan, done: Done, saved: SavedRun, model: str, record: Record
) -> Iterator[Unit]:
    """The shards whose missing features are not restored, or from other inputs."""
    name = restore_unit(model)
    for shard in plan.shards():
        work = restore_digest(record, done.inputs(saved.config, model, shard.number))
        if not done.is_done(shard.number, name, work):
            yield Unit(name, shard, work, done.next_revision(shard.number, name))


def outdated(done: Done, saved: SavedRun, run: Path) -> Iterator[tuple[int, str]]:
    """The (shard, unit) of what was restored by a model, or from vectors, that are no more."""
    known = {
        model: Record.read(run, model) for model in saved.identities if model in saved.config.models
    }
    for (shard, unit), (work, _) in done.work.items():
        kind, _, model = unit.partition(".")
        if kind == "restore":
            record = known.get(model)
            if record is None or work != restore_digest(
                record, done.inputs(saved.config, model, shard)
            ):
                yield shard, unit
