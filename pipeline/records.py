"""records/ of one shard, derived when all its modalities are done: what happened to each record."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from encoders.media.errors import MediaError, Reason
from pipeline import schemas
from pipeline.extract import Errors
from pipeline.files import short_digest
from pipeline.ledger import FAILED, FILTERED, VECTOR, Marker
from pipeline.prepare import Lost
from pipeline.sources import Row, row_metadata

OUTCOMES = ("ok", "partial", "failed", "filtered")
_LETTER = {"ok": "o", "partial": "p", "failed": FAILED, "filtered": FILTERED}


def work_digest(markers: Sequence[Marker]) -> str:
    """What records/ of a shard is derived from: the states in the markers of its modalities."""
    states = {name: text for marker in markers for name, text in marker.states.items()}
    return short_digest(states)


def derive(
    rows: Iterable[Row], schema: pa.Schema, states: Mapping[str, str]
) -> tuple[pa.Table, Errors, str]:
    """The records table, the errors of the metadata itself, and one outcome letter per row.

    states: {feature: one letter per row}, in the order of the configuration.
    """
    target = schemas.records(schema)
    ours = len(schemas.RECORD_COLUMNS)
    names = dict(zip(schema.names, target.names[ours:], strict=True))
    errors = Errors()
    table = []
    for i, row in enumerate(rows):
        letters = {feature: text[i] for feature, text in states.items()}
        values, problems = row_metadata(schema, row)
        if problems:
            error = MediaError(Reason.BAD_ROW, "; ".join(problems))
            errors.add(row.record_id, "", "", Lost("read", error))
        table.append(
            {
                "record_id": row.record_id,
                "outcome": outcome(letters.values(), bool(problems)),
                "present": [feature for feature, letter in letters.items() if letter == VECTOR],
                **{names[name]: value for name, value in values.items()},
            }
        )
    letters_of_all = "".join(_LETTER[row["outcome"]] for row in table)
    return pa.Table.from_pylist(table, target), errors, letters_of_all


def outcome(letters: Iterable[str], bad_metadata: bool = False) -> str:
    """ok: no error (also when everything is absent); partial: some vector and some error;
    failed: an error and no vector; filtered: left out by `source.where`."""
    seen = set(letters)
    if FILTERED in seen:
        return "filtered"
    if FAILED not in seen and not bad_metadata:
        return "ok"
    return "partial" if VECTOR in seen else "failed"


def count_outcomes(letters: str) -> dict[str, int]:
    """{outcome: records} from the letters that `derive` gave."""
    found = Counter(letters)
    return {name: found[_LETTER[name]] for name in OUTCOMES}
