"""The Arrow schemas of everything a run writes; the column names live here and nowhere else."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

ERRORS = pa.schema(
    [
        ("record_id", pa.string()),
        ("feature", pa.string()),
        ("uri", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("attempts", pa.int32()),
    ]
)
RECORD_COLUMNS = ("record_id", "outcome", "present")


def vector_type(dim: int, pool: str = "mean") -> pa.DataType:
    """fixed_size_list<float>[dim]; a list of them where frames are kept as a sequence."""
    fixed = pa.list_(pa.float32(), dim)
    return pa.list_(fixed) if pool == "sequence" else fixed


def dim_of(kind: pa.DataType) -> int:
    """D of a `vector_type`."""
    return (kind if pa.types.is_fixed_size_list(kind) else kind.value_type).list_size


def features(dim: int, pool: str = "mean") -> pa.Schema:
    """record_id and one nullable vector."""
    return pa.schema([("record_id", pa.string()), ("vector", vector_type(dim, pool))])


def records(source: pa.Schema) -> pa.Schema:
    """What happened to each record, then the scalar columns of the source.

    A source column that is called like one of ours gets the prefix `source_`.
    """
    ours = pa.schema(
        [
            ("record_id", pa.string()),
            ("outcome", pa.string()),
            ("present", pa.list_(pa.string())),
        ]
    )
    theirs = [
        field.with_name(f"source_{field.name}") if field.name in RECORD_COLUMNS else field
        for field in source
    ]
    return pa.schema([*ours, *theirs])


def fused(dim: int, features: int | None = None, log_variance: bool = False) -> pa.Schema:
    """One vector per record, and what the model knows about it."""
    fields = [("record_id", pa.string()), ("vector", vector_type(dim))]
    if features is not None:
        fields.append(("weights", vector_type(features)))
    if log_variance:
        fields.append(("log_variance", vector_type(dim)))
    return pa.schema(fields)


def restored(dim: int) -> pa.Schema:
    """What a model makes of a missing vector; null, and False, where there was nothing to restore."""
    return pa.schema(
        [("record_id", pa.string()), ("vector", vector_type(dim)), ("restored", pa.bool_())]
    )


def vectors_array(matrix: np.ndarray, valid: np.ndarray) -> pa.Array:
    """(N, D) float32 and (N,) bool -> fixed-size lists, null where not valid.

    The slots behind nulls are zero, so that equal content is equal bytes.
    """
    count, dim = matrix.shape
    whole = bool(valid.all())
    clean = matrix if whole else np.where(valid[:, None], matrix, np.float32(0))
    flat = pa.array(clean.astype(np.float32, copy=False).reshape(-1))
    mask = None if whole else pa.array(~valid)
    return (
        pa.FixedSizeListArray.from_arrays(flat, dim, mask=mask)
        if count
        else pa.array([], vector_type(dim))
    )


def sequences_array(sequences: Sequence[np.ndarray | None], dim: int) -> pa.Array:
    """One (T, D) array or None per record -> list<fixed_size_list<float>[D]>."""
    lengths = [0 if sequence is None else len(sequence) for sequence in sequences]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    parts = [sequence for sequence in sequences if sequence is not None]
    flat = np.concatenate(parts) if parts else np.zeros((0, dim), np.float32)
    inner = pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float32).reshape(-1)), dim)
    missing = pa.array([sequence is None for sequence in sequences], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets), inner, mask=missing)


def matrix_of(column: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A vector column -> ((N, D) float32, (N,) bool valid); a sequence becomes the mean of its rows.

    Rows that are not valid are zero.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_fixed_size_list(array.type):
        valid, matrix = np.asarray(array.is_valid()), _numbers(array)
        return (matrix if valid.all() else np.where(valid[:, None], matrix, np.float32(0))), valid
    dim = array.type.value_type.list_size
    lengths = np.asarray(array.value_lengths().fill_null(0))
    rows, _ = matrix_of(array.flatten())
    valid = lengths > 0
    sums = np.zeros((len(array), dim), np.float64)
    np.add.at(sums, np.repeat(np.arange(len(array)), lengths), rows)
    return (sums / np.maximum(lengths, 1)[:, None]).astype(np.float32), valid


def _numbers(array: pa.FixedSizeListArray) -> np.ndarray:
    """(N, D) as they lie in memory, without a copy; those of null rows mean nothing."""
    dim, values = array.type.list_size, array.values
    if not len(array):
        return np.empty((0, dim), np.float32)
    start = values.offset + array.offset * dim
    numbers = np.frombuffer(values.buffers()[1], values.type.to_pandas_dtype())
    return numbers[start : start + len(array) * dim].reshape(-1, dim)
