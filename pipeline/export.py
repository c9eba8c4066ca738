"""One wide Parquet table of a run: metadata and every vector as list<float>, part by part."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline import files, intact
from pipeline.errors import PolyfuseError
from pipeline.onefile import whole_file
from pipeline.store import Part

if TYPE_CHECKING:
    from pipeline.results import Run


def export(run: "Run", out: Path) -> Path:
    """Write record_id, outcome, present, the source's columns, then <name>_vector per feature and model.

    Vectors are list<float> (a sequence of frames: list<list<float>>), null where there is none; dots
    in names become underscores. One part at a time is in memory, and `out` appears when it is whole.

    Raises:
        PolyfuseError: `out` can't be written, or a part is damaged.
    """
    snapshot = run.snapshot
    folders = [f"features/{n}" for n in run.feature_names] + [f"fused/{n}" for n in run.model_names]
    columns = {folder: snapshot.parts(folder) for folder in folders}
    records = snapshot.parts("records")
    if not records:
        raise PolyfuseError(f"{run.path} has no records to export yet")
    schema = None
    with whole_file(out) as append:
        for i, part in enumerate(records):
            table = _wide(part, {folder: parts[i] for folder, parts in columns.items()})
            schema = schema or table.schema
            if table.schema != schema:  # pages have checksums, the names of columns have none
                reason = "its columns are not those of the part before it"
                raise files.damaged(
                    part.path, reason, "`polyfuse verify RUN` says which of them is"
                )
            append(table)
    return out


def _wide(records: Part, vectors: dict[str, Part]) -> pa.Table:
    table = intact.read(records.path, rows=records.rows)
    for folder, part in vectors.items():
        assert part.number == records.number, f"{folder} and records/ differ in their parts"
        name = folder.split("/", 1)[1].replace(".", "_") + "_vector"
        while name in table.column_names:  # a source column, or `a.b` beside `a_b`
            name += "_"
        column = intact.read(part.path, ["vector"], rows=part.rows)["vector"]
        table = table.append_column(name, column.cast(_plain(column.type)))
    return table.replace_schema_metadata({"format": str(files.FORMAT)})


def _plain(kind: pa.DataType) -> pa.DataType:
    """The same nesting with lists of any length: what every reader takes for an array."""
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind
