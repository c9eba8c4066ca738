"""The vectors an index is built from, read back from their parts: all in order, or a few rows.

A position is a row's place over all parts in order. Nothing here keeps more than one part in memory.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline import intact, schemas
from pipeline.errors import PolyfuseError
from pipeline.store import Part


class PartVectors:
    """The `vector` column of the parts of one folder, ready for a metric.

    metric: "cosine" gives unit vectors, "ip" and "l2" the vectors as they are.
    """

    def __init__(self, parts: Sequence[Part], metric: str) -> None:
        if not parts:
            raise PolyfuseError(
                "there are no vectors to index: run `polyfuse extract CONFIG` first"
            )
        self.parts = list(parts)
        self.metric = metric
        self.starts = np.cumsum([0, *(part.rows for part in parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def dim(self) -> int:
        """D, from the schema."""
        with intact.opened(_existing(self.parts[0])) as file:
            return schemas.dim_of(file.schema_arrow.field("vector").type)

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(position of the first row, (n, D) float32, (n,) bool usable), one part at a time."""
        for part, start in zip(self.parts, self.starts[:-1], strict=True):
            column = intact.read(_existing(part), ["vector"], rows=part.rows)["vector"]
            yield int(start), *self._ready(column)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """(n,) positions, in any order -> (n, D) float32; reads only the row groups they are in."""
        found = np.empty((len(positions), self.dim), np.float32)
        number = np.searchsorted(self.starts, positions, side="right") - 1
        for part in np.unique(number):
            mine = np.flatnonzero(number == part)
            rows = positions[mine] - self.starts[part]
            found[mine] = self._take_from(self.parts[part], rows)
        return found

    def _take_from(self, part: Part, rows: np.ndarray) -> np.ndarray:
        with intact.opened(_existing(part)) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            starts = np.cumsum([0, *sizes])
            group = np.searchsorted(starts, rows, side="right") - 1
            groups, rank = np.unique(group, return_inverse=True)
            column = file.read_row_groups(groups.tolist(), columns=["vector"])["vector"]
        kept = np.cumsum([0, *(sizes[g] for g in groups)])
        return self._ready(column.take(pa.array(kept[rank] + rows - starts[group])))[0]

    def _ready(self, column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        matrix, valid = schemas.matrix_of(column)
        usable = valid & np.isfinite(matrix).all(axis=1)
        if self.metric != "l2":
            usable &= matrix.any(axis=1)  # a zero vector points nowhere: no cosine, no neighbours
        matrix = np.ascontiguousarray(matrix, np.float32)
        return (unit(matrix) if self.metric == "cosine" else matrix), usable


def unit(matrix: np.ndarray) -> np.ndarray:
    """Rows divided by their length, in float64 inside; zero rows stay zero. (..., D) float32"""
    wide = np.asarray(matrix, np.float64)
    norm = np.sqrt(np.vecdot(wide, wide))[..., None]
    return (wide / np.where(norm > 0, norm, 1)).astype(np.float32)


def _existing(part: Part) -> Path:
    if not part.path.exists():
        raise PolyfuseError(
            f"{part.path} is gone: the run has changed since; build the index again "
            "with `polyfuse index CONFIG`"
        )
    return part.path
