"""The small picklable things that travel to the workers: what to do, and with which rights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.lease import Lease
from pipeline.models import trained_models
from pipeline.plan import Shard
from pipeline.saved import SavedRun
from pipeline.sources import SourceSpec


def extract_unit(modality: str) -> str:
    """The ledger's name for computing one modality of a shard."""
    return f"extract.{modality}"


def fuse_unit(model: str) -> str:
    """The ledger's name for fusing one shard with one model."""
    return f"fuse.{model}"


def restore_unit(model: str) -> str:
    """The ledger's name for restoring the missing features of one shard with one model."""
    return f"restore.{model}"


RECORDS, SPLIT = "records", "split"


def all_units(config: RunConfig) -> set[str]:
    """The ledger's names of everything that a configuration asks for, or has use for."""
    extracted = {extract_unit(modality) for modality in config.modalities}
    derived = {RECORDS, SPLIT} if trained_models(config) or config.label else {RECORDS}
    return (
        extracted
        | derived
        | {name(model) for model in config.models for name in (fuse_unit, restore_unit)}
    )


@dataclass(frozen=True)
class Job:
    """What every unit of one command shares.

    fuse: models that need no training, to fuse a shard with as soon as all its modalities are there.
    """

    run: Path
    saved: SavedRun
    source: SourceSpec
    lease: Lease
    fuse: Sequence[str] = ()

    @property
    def plan(self) -> Path:
        """Where the plan, and the catalogues of folders and tars, are."""
        return self.run / "plan"


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work on one shard.

    work: digest of what is asked for, kept in the marker; revision: which marker to write;
    retry: compute only the rows that failed in the revision before.
    """

    name: str
    shard: Shard
    work: str
    revision: int = 0
    retry: bool = False

    @property
    def kind(self) -> str:
        """extract, records, split, fuse or restore."""
        return self.name.partition(".")[0]

    @property
    def subject(self) -> str:
        """The modality or the model."""
        return self.name.partition(".")[2]
