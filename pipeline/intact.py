"""Reading the Parquet files that we wrote: every page against its checksum, damage as a sentence.

What is damaged is found by the page that is read, not by the whole file: a search takes single rows
out of large parts. `polyfuse verify` compares whole files with their digests.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline import files

_ADVICE = "`polyfuse verify RUN` lists what else is, and what to do"
# For datasets, which users read lazily.
CHECKED = ds.ParquetFileFormat(
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
    with opened(path, advice) as file:
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
    with sound(path, advice), pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield file


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
