"""What tables share: files whose rows have a fixed order, cut into row ranges."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import ConfigError, Refused
from pipeline.sources.base import FileState, Known, Limit, Piece, Shard, SourceSpec, scan_files
from pipeline.sources.discover import Location


class Table:
    """The half of `Source` that CSV, JSON lines and Parquet have in common."""

    plan_folder: Path | None = None

    def __init__(self, spec: SourceSpec, location: Location) -> None:
        self.spec = spec
        self.root = location.root
        self.unchecked_ids = spec.id is not None
        self._names = location.files

    def files(self) -> dict[str, FileState]:
        """Each file's size and modification time."""
        return file_states(self.root, self._names)

    def may_be_few(self, records: int) -> bool:
        """As `Source`: hardly a file is empty."""
        return len(self._names) <= records

    def scan(
        self, files: Mapping[str, FileState], known: Known, growing: Iterator[Limit]
    ) -> Iterator[Piece]:
        """One pass over the files that are new or touched: their bytes, or their footers."""
        return scan_files(files, known, growing, self._cut)

    def describe(self, shard: Shard) -> str:
        """File and rows, counted from 1."""
        return f"{shard.file} rows {shard.start + 1} to {shard.start + shard.rows}"

    def _changed(self, shard: Shard) -> Refused:
        return Refused(
            f"{self.describe(shard)} changed since planning; "
            "run with --update to take the new rows, or --restart"
        )

    def _cut(self, file: str, limits: Iterator[Limit]) -> Iterator[Piece]:
        raise NotImplementedError


def file_states(root: Path, names: Sequence[str]) -> dict[str, FileState]:
    """Size and modification time of files under a root."""
    stats = ((name, (root / name).stat()) for name in names)
    return {name: FileState(stat.st_size, stat.st_mtime_ns) for name, stat in stats}


def open_file(root: Path, file: str) -> BinaryIO:
    """A file of the source, for reading bytes.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        return open(root / file, "rb")
    except OSError as err:
        raise ConfigError(f"source.path: can't read {root / file}: {err.strerror}") from err
