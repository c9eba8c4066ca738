"""What a model learns from: the parts of each shard, and which of their rows count."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import intact
from pipeline.config import PARTS, LabelConfig
from pipeline.files import short_digest
from pipeline.fit.labels import Labels, settle
from pipeline.store import PartFile


@dataclass(frozen=True)
class ShardParts:
    """One shard: the parts of the inputs by name, of records/ and of split/. Row i is the same record."""

    inputs: dict[str, PartFile]
    records: PartFile
    split: PartFile

    @property
    def bytes(self) -> int:
        """Of the vectors, on disk."""
        return sum(part.bytes for part in self.inputs.values())


@dataclass(frozen=True)
class Data:
    """Picklable: what workers need to find the rows.

    features: those whose presence makes a record worth learning from. labels: None where they
    don't matter. supervised: rows without one are left out. sequences: read them as such, not as means.
    """

    run: Path
    shards: tuple[ShardParts, ...]
    features: tuple[str, ...]
    labels: Labels | None = None
    supervised: bool = True
    sequences: bool = False

    @property
    def digest(self) -> str:
        """Of the exact bytes that are learned from."""
        return short_digest(
            [
                [shard.split.sha256, *(shard.inputs[name].sha256 for name in sorted(shard.inputs))]
                for shard in self.shards
            ]
        )

    def read(self, part: PartFile, columns: Sequence[str]) -> pa.Table:
        """Some columns of a part, the rows in order."""
        return intact.read(self.run / part.folder / part.name, columns)

    def settle_labels(self, label: LabelConfig) -> Labels:
        """The task and the classes that all labels there are give; see `pipeline.fit.labels.settle`."""
        columns = (self.read(shard.split, ["label"])["label"] for shard in self.shards)
        return settle(label, (column.combine_chunks() for column in columns))

    def usable(self, shard: ShardParts) -> dict[str, np.ndarray]:
        """{part of the split: (N,) bool}: the rows with a feature, and with a label where it matters."""
        labels = self.labels if self.supervised else None
        table = self.read(shard.split, ["part", "label"] if labels else ["part"])
        present = self.read(shard.records, ["present"])["present"].combine_chunks()
        fits = _any_of(present, self.features)
        if labels:
            fits &= labels.known(table["label"].combine_chunks())
        part = table["part"].to_numpy()
        return {name: fits & (part == name) for name in PARTS}


def _any_of(present: pa.Array, features: Sequence[str]) -> np.ndarray:
    """(N,) bool: which lists name one of the features."""
    wanted = pc.is_in(present.flatten(), value_set=pa.array(features, pa.string()))
    rows = pc.list_parent_indices(present).filter(wanted)
    found = np.zeros(len(present), bool)
    found[np.asarray(rows)] = True
    return found
