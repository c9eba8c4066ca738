"""Every record id is there and unique: checked at planning, in bounded memory.

Ids are hashed to 128 bits and spread over files by the hash, so that equal ids meet in one file and
each file fits in memory. At 10^12 ids two different ones share a hash with probability 10^-15.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline import files
from pipeline.errors import ConfigError
from pipeline.sources.base import Shard, Source

BUCKET_ROWS = 2_000_000
_ENTRY = np.dtype([("high", "<u8"), ("low", "<u8"), ("shard", "<u4"), ("row", "<u4")])


def check_ids(source: Source, shards: Sequence[Shard], folder: Path) -> None:
    """Read the ids of all shards and refuse an empty or a repeated one.

    Raises:
        ConfigError: names the id and where it is.
    """
    count = max(1, -(-sum(shard.rows for shard in shards) // BUCKET_ROWS))
    with (
        files.scratch(folder) as scratch,
        ExitStack() as stack,
    ):
        paths = [scratch / str(bucket) for bucket in range(count)]
        buckets = [stack.enter_context(open(path, "wb")) for path in paths]
        for index, shard in enumerate(shards):
            entries = _hashes(source, shard, index)
            home = entries["high"] % count
            for bucket in range(count):
                buckets[bucket].write(entries[home == bucket].tobytes())
        for file in buckets:
            file.close()
        for path in paths:
            _refuse_repeats(source, shards, np.fromfile(path, _ENTRY))


def _hashes(source: Source, shard: Shard, index: int) -> np.ndarray:
    digests = b"".join(_digests(source, shard))
    entries = np.empty(len(digests) // 16, _ENTRY)
    halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
    entries["high"], entries["low"] = halves[:, 0], halves[:, 1]
    entries["shard"], entries["row"] = index, np.arange(len(entries))
    return entries


def _digests(source: Source, shard: Shard) -> Iterator[bytes]:
    for index, row in enumerate(source.read(shard, ())):
        if not row.record_id:
            raise ConfigError(
                f"source.id: {_place(shard, index)} has an empty id; every record needs one"
            )
        yield hashlib.blake2b(row.record_id.encode(), digest_size=16).digest()


def _refuse_repeats(source: Source, shards: Sequence[Shard], entries: np.ndarray) -> None:
    entries = entries[
        np.lexsort((entries["row"], entries["shard"], entries["low"], entries["high"]))
    ]
    same = (entries["high"][1:] == entries["high"][:-1]) & (
        entries["low"][1:] == entries["low"][:-1]
    )
    if not same.any():
        return
    repeats = np.flatnonzero(same)
    first = repeats[np.lexsort((entries["row"][repeats], entries["shard"][repeats]))[0]]
    one, two = ((shards[entry["shard"]], int(entry["row"])) for entry in entries[first : first + 2])
    record_id = next(islice(source.read(one[0], ()), one[1], None)).record_id
    raise ConfigError(
        f"source: the id {record_id!r} occurs twice, at {_place(*one)} and at {_place(*two)}; "
        "ids must be unique (in a tar the members of a record must be adjacent)"
    )


def _place(shard: Shard, index: int) -> str:
    return f"{shard.file} row {shard.start + index + 1}"
