"""What is left to do: the plan against the ledger, shard by shard, so that neither is held in memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import records
from pipeline.config import RunConfig
from pipeline.errors import PolyfuseError
from pipeline.files import short_digest
from pipeline.ledger import FAILED, VECTOR, Ledger, Marker
from pipeline.models import Record, folder_of, inputs, restore_digest, work_digest
from pipeline.plan import FIRST_SHARDS, Plan, Shard
from pipeline.saved import SavedRun
from pipeline.store import PartFile
from pipeline.units import RECORDS, SPLIT, Unit, all_units, extract_unit, fuse_unit, restore_unit


@dataclass(frozen=True)
class Standing:
    """How far one live shard is: the newest marker of each of its units."""

    shard: Shard
    markers: Mapping[str, Marker]

    def part(self, folder: str) -> PartFile:
        """The part of this shard in a folder.

        Raises:
            PolyfuseError: no marker names one.
        """
        for marker in self.markers.values():
            if part := marker.part(folder):
                return part
        raise PolyfuseError(
            f"ledger: no marker of shard {self.shard.number} names a part of {folder}"
        )

    def inputs(self, config: RunConfig, model: str) -> dict[str, PartFile]:
        """The parts that a model takes, by name."""
        return {name: self.part(folder_of(config, name)) for name in inputs(config, model)}

    def is_done(self, unit: str, work: str) -> bool:
        """Whether the newest marker is of exactly this work."""
        return unit in self.markers and self.markers[unit].work == work

    def unit(self, name: str, work: str, *, retry: bool = False) -> Unit:
        """This work on this shard, as the next revision."""
        revision = self.markers[name].revision + 1 if name in self.markers else 0
        return Unit(name, self.shard, work, revision, retry)

    def left(self, name: str, work: str) -> Iterator[Unit]:
        """The unit, unless it is done with this work."""
        if not self.is_done(name, work):
            yield self.unit(name, work)


def walk(plan: Plan, ledger: Ledger) -> Iterator[Standing]:
    """Every live shard in number order. Both are sorted by it, so one pass over each is enough;
    markers of shards that were retired say nothing any more."""
    found = ledger.by_shard()
    number, markers = next(found, (-1, {}))
    for shard in plan.shards():
        while 0 <= number < shard.number:
            number, markers = next(found, (-1, {}))
        yield Standing(shard, markers if number == shard.number else {})


def finished(
    plan: Plan, ledger: Ledger, config: RunConfig, totals: Counter[str]
) -> Iterator[tuple[int, PartFile]]:
    """(shard, part) of all that is done and wanted; adds up the rows by unit as they pass."""
    units = all_units(config)
    for standing in walk(plan, ledger):
        for name, marker in standing.markers.items():
            if name in units:
                totals[name] += marker.rows
                yield from ((marker.shard, part) for part in marker.files)


def count_items(marker: Marker) -> tuple[int, int]:
    """(items that were there, items of which a feature failed) of one extract marker."""
    rows = list(zip(*marker.states.values(), strict=True))
    there = sum(any(letter in (VECTOR, FAILED) for letter in row) for row in rows)
    return there, sum(FAILED in row for row in rows)


def extract_units(standing: Standing, saved: SavedRun, modality: str) -> Iterator[Unit]:
    """One modality of a shard, unless it is done with the wanted identity."""
    yield from standing.left(extract_unit(modality), saved.work(modality))


def well_ordered(units: Sequence[Unit]) -> list[Unit]:
    """The first shards first, which are small, so that a wrong setting fails in seconds; then the
    largest, so that the last ones are the smallest, and all workers end together."""
    first, rest = units[:FIRST_SHARDS], units[FIRST_SHARDS:]
    return [*first, *sorted(rest, key=lambda unit: -unit.shard.rows)]


def extract_left(shards: Iterable[Standing], saved: SavedRun) -> Iterator[Unit]:
    """The same over all modalities and shards."""
    for standing in shards:
        for modality in saved.config.modalities:
            yield from extract_units(standing, saved, modality)


def retry_units(standing: Standing, saved: SavedRun, modality: str) -> Iterator[Unit]:
    """One modality of a shard, where it is done and rows failed."""
    name, work = extract_unit(modality), saved.work(modality)
    if standing.is_done(name, work) and count_items(standing.markers[name])[1]:
        yield standing.unit(name, work, retry=True)


def records_units(standing: Standing, saved: SavedRun) -> Iterator[Unit]:
    """records/ of a shard, unless a modality is missing, or it is derived from what there is."""
    markers = []
    for modality in saved.config.modalities:
        name = extract_unit(modality)
        if not standing.is_done(name, saved.work(modality)):
            return
        markers.append(standing.markers[name])
    yield from standing.left(RECORDS, records.work_digest(markers))


def split_units(standing: Standing, saved: SavedRun, label_file: str | None) -> Iterator[Unit]:
    """The split of a shard whose records don't know yet, or no longer, to which part they belong.

    label_file: sha256 of the file that the labels are in.
    """
    label = saved.config.label
    work = short_digest(
        {
            "split": saved.config.split.model_dump(),
            "label": label.model_dump(include={"column", "id"}) if label else None,
            "file": label_file,
            "records": standing.part(RECORDS).sha256,
        }
    )
    yield from standing.left(SPLIT, work)


def fuse_units(standing: Standing, saved: SavedRun, model: str) -> Iterator[Unit]:
    """A shard whose fused part is missing or was made from other inputs."""
    work = work_digest(saved.identities[model], standing.inputs(saved.config, model))
    yield from standing.left(fuse_unit(model), work)


def restore_units(
    standing: Standing, saved: SavedRun, model: str, record: Record
) -> Iterator[Unit]:
    """A shard whose missing features are not restored, or from other inputs."""
    work = restore_digest(record, standing.inputs(saved.config, model))
    yield from standing.left(restore_unit(model), work)


def outdated(shards: Iterable[Standing], saved: SavedRun, run: Path) -> Iterator[tuple[int, str]]:
    """The (shard, unit) of what was restored by a model, or from vectors, that are no more."""
    known = {
        model: Record.read(run, model) for model in saved.identities if model in saved.config.models
    }
    for standing in shards:
        for unit, marker in standing.markers.items():
            kind, _, model = unit.partition(".")
            if kind == "restore":
                record = known.get(model)
                if record is None or marker.work != restore_digest(
                    record, standing.inputs(saved.config, model)
                ):
                    yield standing.shard.number, unit
