"""The plan: which records form which shard, fixed before anything runs.

RUN/plan/ holds generations. Planning again over a source that grew adds shards and renumbers
nothing; rows that were edited or removed are refused, or under `update` their shards are retired
and the rows get new ones. plan.json is the only truth: it is written last, in one rename, and a
file that it doesn't name is the leftover of a kill.

    plan.json                  totals, signature of the source, file states, digests of the others
    shards-0000.parquet        all live shards as of generation 0, by number
    catalogue-0000.parquet     members of the shards that generation 0 brought (folders and tars)
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import files, intact
from pipeline.duplicates import check_ids
from pipeline.errors import ConfigError, Refused
from pipeline.files import FORMAT, TEMPORARY, replacing
from pipeline.sources.base import FileState, Known, Limit, Piece, Shard, Source
from pipeline.sources.media import SCHEMA as CATALOGUE
from pipeline.sources.media import catalogue_path

__all__ = ["Plan", "Planned", "Shard", "make_plan"]

FIRST_SHARD = 32
FIRST_SHARDS = 2
_SHARDS_PER_SIZE = 4
_SHARDS_READ = 1024  # at a time
_TYPES = {int: pa.int64(), str: pa.string()}
_COLUMNS = pa.schema([(item.name, _TYPES[item.type]) for item in fields(Shard)])  # type: ignore[index]
_FOOTER = {"format": str(FORMAT)}
_DAMAGED = "restore it from a copy, or begin anew with `polyfuse run CONFIG --restart`"


class Totals(NamedTuple):
    """Live shards and their records."""

    shards: int
    records: int


class Planned(NamedTuple):
    """What planning did: shards it added, numbers it retired, records now planned."""

    new_shards: int
    retired: tuple[int, ...]
    records: int
    unchanged: bool


@dataclass(frozen=True)
class State:
    """plan.json.

    generations: plannings that changed it; next: the number of the next shard; shards, records: live
    ones; retired: numbers that are not valid any more; signature: of the source; files: of the source,
    by name; digests: sha256 of the other files of the plan, by name.
    """

    generations: int
    next: int
    shards: int
    records: int
    retired: tuple[int, ...]
    signature: Mapping[str, Any]
    files: Mapping[str, FileState]
    digests: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """A saved plan, open for reading."""

    folder: Path
    state: State

    @classmethod
    def open(cls, folder: Path) -> "Plan":
        """The plan in a folder.

        Raises:
            ConfigError: there is none.
            PolyfuseError: it is damaged, or of a format this version doesn't know.
        """
        path = folder / "plan.json"
        if not path.exists():
            raise ConfigError(f"{folder} holds no plan; expected plan.json (run it first)")
        return cls(folder, files.read_as(State, path, _DAMAGED))

    @property
    def totals(self) -> Totals:
        """(shards, records), live ones."""
        return Totals(self.state.shards, self.state.records)

    @property
    def generations(self) -> int:
        """How many plannings changed it."""
        return self.state.generations

    @property
    def retired(self) -> frozenset[int]:
        """Numbers that were given once and are not valid any more."""
        return frozenset(self.state.retired)

    @cached_property
    def live(self) -> frozenset[int]:
        """Numbers that are valid."""
        numbers = intact.read(self._shards, ["number"], _DAMAGED)["number"]
        return frozenset(numbers.to_pylist())

    @property
    def schema(self) -> pa.Schema:
        """The kept source columns, as fixed by the first planning."""
        with intact.opened(self._checked("columns.parquet"), _DAMAGED) as file:
            return file.schema_arrow.remove_metadata()

    def shards(self) -> Iterator[Shard]:
        """Live shards in number order, streaming."""
        with intact.opened(self._shards, _DAMAGED) as file:
            for batch in file.iter_batches(batch_size=_SHARDS_READ):
                yield from map(Shard.from_dict, batch.to_pylist())

    def damaged(self) -> Iterator[str]:
        """The files of the plan that are missing or hold other bytes than were written."""
        for name, digest in self.state.digests.items():
            if not files.has_digest(self.folder / name, digest):
                yield name

    @cached_property
    def _shards(self) -> Path:
        return self._checked(_shards_name(self.generations - 1))

    def _checked(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise files.damaged(path, "it is missing", _DAMAGED)
        path = files.local(path)
        if files.sha256_of(path) != self.state.digests.get(name):
            raise files.damaged(path, "its bytes are not those that were written", _DAMAGED)
        return path


def make_plan(
    source: Source,
    folder: Path,
    *,
    records: int,
    bytes: int,
    first: int = FIRST_SHARD,
    update: bool = False,
) -> Planned:
    """Plan a source, or bring its plan up to date; killed at any time, the earlier plan stands.

    Args:
        source: its `plan_folder` is set to `folder`.
        folder: RUN/plan; one writer at a time.
        records, bytes: the largest shard.
        first: records of the first ones; see `growing`.
        update: retire shards whose rows were edited or removed, instead of refusing.

    Raises:
        Refused: rows or columns differ from what was planned.
        ConfigError: the source is empty, or an id is empty or repeated.
    """
    files.make_folder(folder)
    _remove_leftovers(folder)
    source.plan_folder = folder
    old = Plan.open(folder) if (folder / "plan.json").exists() else None
    generation = old.generations if old else 0
    before = {shard.number: shard for shard in old.shards()} if old else {}
    if old:
        _refuse_other_columns(old.state.signature, source.signature())
    now = source.files()
    limits = growing(records, bytes, first)
    pieces = source.scan(now, _known(old, before), limits)
    number = old.state.next if old else 0
    kept, new = _number(pieces, before, folder, generation, number)
    retired = tuple(sorted(before.keys() - kept.keys()))
    if retired and not update:
        raise _edited(source, before[retired[0]], len(retired), len(before))
    live = sorted([*kept.values(), *new], key=lambda shard: shard.number)
    total = sum(shard.rows for shard in live)
    if not live and not old:
        raise ConfigError("source.path: the source is empty; expected at least one record")
    unchanged = old is not None and live == list(before.values())
    if not unchanged and source.unchecked_ids:
        check_ids(source, live, folder)
    if not unchanged:
        _write_shards(folder / _shards_name(generation), live)
    if not old:
        _write_table(folder / "columns.parquet", source.schema().empty_table())
    state = State(
        generations=generation if unchanged else generation + 1,
        next=number + len(new),
        shards=len(live),
        records=total,
        retired=tuple(sorted([*(old.state.retired if old else ()), *retired])),
        signature=source.signature(),
        files=now,
        digests=old.state.digests if old and unchanged else _digests(folder, old, generation),
    )
    if not old or state != old.state:
        files.publish(folder / "plan.json", files.to_json(asdict(state)))
    return Planned(len(new), retired, total, unchanged)


def _digests(folder: Path, old: Plan | None, generation: int) -> dict[str, str]:
    """Of what the plan consists of now: catalogues of earlier generations stay, lists of shards go."""
    written = [folder / _shards_name(generation), catalogue_path(folder, generation)]
    written += [] if old else [folder / "columns.parquet"]
    kept = old.state.digests if old else {}
    return {name: digest for name, digest in kept.items() if not name.startswith("shards-")} | {
        path.name: files.sha256_of(path) for path in written if path.exists()
    }


def growing(records: int, bytes: int, first: int = FIRST_SHARD) -> Iterator[Limit]:
    """Sizes of the new shards of one generation, none above `records`: `first` twice, four halves and
    four quarters of it; then four times each twice as many, and so on.

    Small first ones let a wrong setting fail in seconds. The halves and quarters are done last (see
    `todo.well_ordered`): a worker takes its next shard before it is known who ends first, and with
    large ones some would wait for the others.
    """
    ends = [max(1, first // part) for part in (2, 4) for _ in range(_SHARDS_PER_SIZE)]
    for size in chain([first] * FIRST_SHARDS, ends, _doubling(2 * first)):
        yield Limit(min(records, size), bytes)


def _doubling(size: int) -> Iterator[int]:
    while True:
        yield from repeat(size, _SHARDS_PER_SIZE)
        size *= 2


def _known(old: Plan | None, before: Mapping[int, Shard]) -> Known:
    if old is None:
        return Known()
    shards: dict[str, list[Shard]] = {}
    for shard in before.values():
        shards.setdefault(shard.file, []).append(shard)
    for of_file in shards.values():
        # Rows of a file in their order. A folder's records have none: number order keeps the
        # generations together, as its catalogues are read.
        of_file.sort(key=lambda shard: (0, shard.number) if shard.file == "." else (shard.start, 0))
    return Known(shards, old.state.files)


def _number(
    pieces: Iterable[Piece], before: Mapping[int, Shard], folder: Path, generation: int, number: int
) -> tuple[dict[int, Shard], list[Shard]]:
    """Kept shards by number, perhaps moved in their file, and new ones; writes their catalogue."""
    kept: dict[int, Shard] = {}
    new: list[Shard] = []
    writer: pq.ParquetWriter | None = None
    with ExitStack() as catalogue:
        for piece in pieces:
            if piece.known is not None:
                kept[piece.known] = replace(
                    before[piece.known], offset=piece.offset, length=piece.length
                )
                continue
            offset = piece.offset
            if piece.catalogue is not None:
                if writer is None:
                    path = catalogue.enter_context(replacing(catalogue_path(folder, generation)))
                    schema = CATALOGUE.with_metadata(_FOOTER)
                    writer = catalogue.enter_context(
                        pq.ParquetWriter(path, schema, write_page_checksum=True)
                    )
                writer.write_table(piece.catalogue.cast(schema), row_group_size=piece.rows)
                offset = len(new)
            new.append(
                Shard(
                    number + len(new),
                    generation,
                    piece.file,
                    piece.start,
                    piece.rows,
                    offset,
                    piece.length,
                    piece.fingerprint,
                )
            )
    return kept, new


def _refuse_other_columns(planned: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key, then in planned.items():
        if now.get(key) != then:
            raise Refused(
                f"source: {key} was {_shown(then)} when the run was planned and is now "
                f"{_shown(now.get(key))}; use --restart, or another output"
            )


def _shown(value: Any) -> str:
    return json.dumps(value) if value else "none"


def _edited(source: Source, first: Shard, changed: int, planned: int) -> Refused:
    return Refused(
        f"the source changed since planning: {source.describe(first)} were edited or removed "
        f"({changed} of {planned} shards differ); run with --update to recompute those, "
        "or --restart to begin anew"
    )


def _shards_name(generation: int) -> str:
    return f"shards-{generation:04d}.parquet"


def _write_shards(path: Path, shards: list[Shard]) -> None:
    columns = [[getattr(shard, name) for shard in shards] for name in _COLUMNS.names]
    _write_table(path, pa.table(columns, schema=_COLUMNS))


def _write_table(path: Path, table: pa.Table) -> None:
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(_FOOTER), temporary, write_page_checksum=True)


def _remove_leftovers(folder: Path) -> None:
    for name in files.names(folder, TEMPORARY):
        files.remove_any(folder / name)
