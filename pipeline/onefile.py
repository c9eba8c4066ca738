"""One Parquet file written table by table, there when it is whole."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import disk
from pipeline.errors import PolyfuseError
from pipeline.files import TEMPORARY


@contextlib.contextmanager
def whole_file(out: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Gives the function that appends a table; `out` appears when the block ends without an error.

    Raises:
        PolyfuseError: `out` can't be written.
    """
    temporary = out.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    writer: pq.ParquetWriter | None = None

    def append(table: pa.Table) -> None:
        nonlocal writer
        if writer is None:
            disk.make_folder(out.parent)
            writer = pq.ParquetWriter(temporary, table.schema, use_dictionary=False)
        writer.write_table(table)

    try:
        yield append
        if writer is not None:
            writer.close()
            disk.sync(temporary)
            disk.rename(temporary, out)
    except OSError as err:
        raise PolyfuseError(f"can't write {out}: {err.strerror or err}") from err
    finally:
        if writer is not None:
            writer.close()
        with contextlib.suppress(OSError):  # never made, or moved into place
            disk.remove(temporary)
