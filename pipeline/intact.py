"""Reading the Parquet files that we wrote: every page against its checksum, damage as a sentence.

What is damaged is found by the page that is read, not by the whole file: a search takes single rows
out of large parts. `polyfuse verify` compares whole files with their digests.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline import bucket, files

_ADVICE = "`polyfuse verify RUN` lists what else is, and what to do"
# For datasets, which users read lazily.
_CHECKED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def read(
    path: Path,
    columns: Sequence[str] | None = None,
    advice: str = _ADVICE,
    rows: int | None = None,
) -> pa.Table:
    """A whole file, or some columns of it, in this order.

    Args:
        path: the file.
        columns: None: all.
        advice: what a person should do where it is damaged.
        rows: how many it must have, where that is known.

    Raises:
        PolyfuseError: it is missing or damaged.
    """
    with sound(path, advice), _file(_whole(path)) as file:
        table = file.read(columns=None if columns is None else list(columns))
        if rows is not None and table.num_rows != rows:
            raise files.damaged(path, f"it has {table.num_rows} rows, not {rows}", advice)
        return table if columns is None else table.select(list(columns))


@contextlib.contextmanager
def opened(path: Path, advice: str = _ADVICE) -> Iterator[pq.ParquetFile]:
    """A file to read pieces of.

    Raises:
        PolyfuseError: it is missing or damaged, as soon as that shows.
    """
    with sound(path, advice), _file(_ranged(path)) as file:
        yield file


def count_rows(path: Path) -> int:
    """How many rows its footer says it has.

    Raises:
        PolyfuseError: it is missing or damaged.
    """
    with opened(path) as file:
        return file.metadata.num_rows


def dataset(paths: Sequence[Path]) -> ds.Dataset:
    """Files of one schema as one lazy table."""
    with opened(paths[0]) as file:
        schema = file.schema_arrow.remove_metadata()
    if bucket.holds(paths[0]):
        keys, store = [bucket.key(path) for path in paths], bucket.store(paths[0])
        return ds.dataset(keys, schema=schema, format=_CHECKED, filesystem=store)
    return ds.dataset([str(path) for path in paths], schema=schema, format=_CHECKED)


def _file(source: Any) -> pq.ParquetFile:
    return pq.ParquetFile(source, page_checksum_verification=True)


def _whole(path: Path) -> Any:
    """All of an object in one request."""
    return pa.BufferReader(files.read(path)) if bucket.holds(path) else path


def _ranged(path: Path) -> Any:
    """Of an object only the bytes that are asked for are fetched."""
    return path.open("rb", cache_type="none") if bucket.holds(path) else path  # type: ignore[call-overload]


@contextlib.contextmanager
def sound(path: Path, advice: str = _ADVICE) -> Iterator[None]:
    """Whatever pyarrow says of the file in this block becomes a sentence.

    Raises:
        PolyfuseError: it is missing or damaged.
    """
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError) as err:
        reason = getattr(err, "strerror", None)  # the disk's own words, else what pyarrow found
        reason = reason or " ".join(str(err).split())[:200] or type(err).__name__
        raise files.damaged(path, reason, advice) from err
