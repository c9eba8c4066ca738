"""The checkpoint of a training where the run lies: in a folder, or in an object store."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from learning.checkpoint import Checkpoint
from pipeline import bucket


def checkpoint_at(path: Path) -> Checkpoint:
    """Loads from, saves to and clears this file or object."""
    return _Stored(path) if bucket.holds(path) else Checkpoint(path)


class _Stored(Checkpoint):
    """By way of a file of this machine; a put replaces the object in one step."""

    def __init__(self, path: Path) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        self._object = path
        super().__init__(Path(self._scratch.name, path.name))

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        super().save(tensors, state)
        bucket.upload(self.path, self._object)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        if self._object.exists():
            bucket.download(self._object, self.path)
        return super().load()

    def clear(self) -> None:
        super().clear()
        bucket.remove(self._object)
