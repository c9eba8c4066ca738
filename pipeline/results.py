"""What a run left behind, for scripts: `Run("runs/products").vectors("image")`.

Everything is read through one snapshot, taken when the Run is made, so that a writer at work changes
nothing under a reader. Light: FAISS and torch are imported by the first search.
"""

import dataclasses
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.dataset as ds

from pipeline import files, intact, schemas
from pipeline.errors import ConfigError
from pipeline.index import manifests
from pipeline.saved import SavedRun, load_saved
from pipeline.store import Part, Snapshot

if TYPE_CHECKING:
    from pipeline.search.searcher import Hit, Searcher


class Run:
    """A run's results, read-only.

    path: the folder called `output` in the configuration.

    Raises:
        PolyfuseError: the folder holds no run, or nothing of it is finished.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = files.at(path)
        self.saved: SavedRun = load_saved(self.path)
        self.snapshot = Snapshot.latest(self.path)
        self._searchers: dict[str, Searcher] = {}

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, snapshot {self.snapshot.version})"

    @property
    def feature_names(self) -> list[str]:
        """The features that have vectors."""
        return self._names("features/")

    @property
    def model_names(self) -> list[str]:
        """The models that have fused vectors."""
        return self._names("fused/")

    def records(self) -> ds.Dataset:
        """record_id, outcome, present and the source's scalar columns, one row per record."""
        return self._dataset("records")

    def features(self, name: str) -> ds.Dataset:
        """record_id and vector (null where absent or failed) of one feature."""
        return self._dataset(f"features/{self._known(name, self.feature_names)}")

    def fused(self, model: str = "concat") -> ds.Dataset:
        """record_id, vector, and what else the model gives."""
        return self._dataset(f"fused/{self._known(model, self.model_names)}")

    def restored(self, model: str, feature: str) -> ds.Dataset:
        """record_id, vector and restored: what a model makes of a feature where it is missing."""
        known = self._known(f"{model}/{feature}", self._names("restored/"))
        return self._dataset(f"restored/{known}")

    def errors(self) -> ds.Dataset:
        """One row for every (record, feature) that failed: stage, reason, message, attempts."""
        if "errors" not in self._folders:
            return ds.dataset(schemas.ERRORS.empty_table())
        return self._dataset("errors")

    def vectors(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """All vectors of a feature or model, in the order of records().

        Returns:
            (N,) record_ids and (N, D) float32; NaN rows where there is no vector. A sequence of
            frames is the mean of its frames.
        """
        known = [*self.feature_names, *self.model_names]
        name = self._known(name, known)
        parts = self._parts(f"features/{name}" if name in self.feature_names else f"fused/{name}")
        starts = np.cumsum([0, *(part.rows for part in parts)])
        with intact.opened(parts[0].path) as file:
            dim = schemas.dim_of(file.schema_arrow.field("vector").type)
        matrix = np.empty((starts[-1], dim), np.float32)

        def fill(part: Part, start: int) -> np.ndarray:
            table = intact.read(part.path, ["record_id", "vector"], rows=part.rows)
            block, valid = schemas.matrix_of(table["vector"])
            rows = matrix[start : start + len(block)]
            rows[:] = block
            rows[~valid] = np.nan
            return table["record_id"].to_numpy()

        # Arrow decodes one column on one core, and leaves the others to us. A part per core is in memory.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ids = list(pool.map(fill, parts, starts))
        return np.concatenate(ids), matrix

    def indexes(self) -> list[dict[str, Any]]:
        """The manifest of every index: name, type, metric, dim, counts, recall, identities ..."""
        folders = [self.path / "index" / name for name in manifests.names(self.path)]
        versions = [version for folder in folders if (version := manifests.current(folder))]
        return [dataclasses.asdict(manifests.read_manifest(version)) for version in versions]

    def searcher(self, index: str | None = None) -> "Searcher":
        """An index opened once and kept: see `pipeline.search.searcher.Searcher`."""
        from pipeline.search.searcher import Searcher, default_index

        name = index or default_index(self.path, self.saved)
        if name not in self._searchers:
            self._searchers[name] = Searcher(self.path, name)
        return self._searchers[name]

    def search(
        self, query: Mapping[str, Any] | None = None, *, index: str | None = None, **options: Any
    ) -> "list[Hit]":
        """Nearest records; arguments as for `pipeline.search.searcher.Searcher.search`.

        Example:
            run.search({"text": "red shoe"}, where="price < 50", k=5)
        """
        return self.searcher(index).search(query, **options)

    def export(self, out: str | Path) -> Path:
        """Write one wide Parquet table: see `pipeline.export`."""
        from pipeline.export import export

        return export(self, Path(out))

    @cached_property
    def _folders(self) -> list[str]:
        return self.snapshot.folders()

    def _names(self, prefix: str) -> list[str]:
        return [name.removeprefix(prefix) for name in self._folders if name.startswith(prefix)]

    def _known(self, name: str, known: list[str]) -> str:
        if name not in known:
            raise ConfigError(
                f"{self.path} has no {name!r}; there are: {', '.join(known) or 'none'}"
            )
        return name

    def _parts(self, folder: str) -> list[Part]:
        return self.snapshot.parts(folder)

    def _dataset(self, folder: str) -> ds.Dataset:
        """Lazy: only the parts of this snapshot, whatever else lies in the folder."""
        return intact.dataset([part.path for part in self._parts(folder)])
