"""What a cell of a table means to a modality that needs no decoder."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from encoders.media.errors import MediaError, Reason


def is_absent(cell: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, or an empty text, list or medium."""
    return (
        cell is None
        or (isinstance(cell, str | bytes | list) and len(cell) == 0)
        or (isinstance(cell, float) and math.isnan(cell))
    )


def to_number(cell: Any) -> float:
    """A number, or the text of one.

    Raises:
        MediaError: BAD_FORMAT for anything else.
    """
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        raise MediaError(Reason.BAD_FORMAT, f"expected a number, got {cell!r:.80}") from None


def to_vector(cell: Any) -> np.ndarray:
    """A list of numbers, or its JSON text -> (D,) float32.

    Raises:
        MediaError: BAD_FORMAT for anything else.
    """
    try:
        values = json.loads(cell) if isinstance(cell, str) else cell
        return np.asarray(values, dtype=np.float32).reshape(len(values))
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise MediaError(Reason.BAD_FORMAT, "expected a list of numbers of one length") from None


def to_text(cell: Any) -> str:
    """Any cell as text; bytes are UTF-8.

    Raises:
        MediaError: BAD_FORMAT for other bytes.
    """
    try:
        return cell.decode() if isinstance(cell, bytes) else str(cell)
    except UnicodeDecodeError as err:
        raise MediaError(Reason.BAD_FORMAT, f"the text is not UTF-8 (byte {err.start})") from err


CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "text": to_text,
    "numeric": to_number,
    "vector": to_vector,
    "categorical": to_text,
}
