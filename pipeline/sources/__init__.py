"""Where records come from: tables, media folders, WebDataset tars.

`open_source` picks the kind by the path. Each kind is one module that meets `base.Source`.
"""

from collections.abc import Callable
from pathlib import Path

from pipeline.sources.base import Cell, Member, Row, Shard, Source, SourceSpec
from pipeline.sources.discover import Location, discover
from pipeline.sources.folder import MediaFolder
from pipeline.sources.metadata import Metadata, row_metadata
from pipeline.sources.parquet import ParquetTable
from pipeline.sources.text import DelimitedTable, JsonLines
from pipeline.sources.webdataset import TarShards

__all__ = [
    "Cell",
    "Member",
    "Metadata",
    "Row",
    "Shard",
    "Source",
    "SourceSpec",
    "open_source",
    "row_metadata",
]

_TABLES: dict[str, Callable[[SourceSpec, Location], Source]] = {
    ".csv": DelimitedTable,
    ".tsv": DelimitedTable,
    ".jsonl": JsonLines,
    ".parquet": ParquetTable,
}
_MEDIA: dict[str, Callable[[SourceSpec, Location, Path | None], Source]] = {
    "folder": MediaFolder,
    ".tar": TarShards,
}


def open_source(spec: SourceSpec, plan_folder: Path | None = None) -> Source:
    """The source at `spec.path`. plan_folder is needed to read folders and tars.

    Raises:
        ConfigError: nothing is there, or a wanted column is missing.
    """
    location = discover(spec.path)
    if location.kind in _TABLES:
        return _TABLES[location.kind](spec, location)
    return _MEDIA[location.kind](spec, location, plan_folder)
