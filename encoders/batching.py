"""Planning of fixed-shape model batches, as pure functions.

The low bits of a row depend on the shape of the batch it was computed in, hardly ever on its
neighbours. So shapes here follow from the length of the whole list and from the row's own length
alone: an item that failed, and whose place is held by None, changes nobody else's vector.
"""

import bisect
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MicroBatch:
    """Items `start` to `stop` of a list, computed as `rows` >= stop - start rows of one shape."""

    start: int
    stop: int
    rows: int


@dataclass(frozen=True)
class TokenBatch:
    """The examples `members`, computed as `rows` >= len(members) rows padded to `length` tokens."""

    members: tuple[int, ...]
    rows: int
    length: int


@dataclass(frozen=True)
class PackedBatch:
    """The examples of each row side by side, computed as rows of `length` tokens."""

    filled: tuple[tuple[int, ...], ...]
    length: int

    @property
    def members(self) -> tuple[int, ...]:
        """All examples, row by row."""
        return tuple(itertools.chain.from_iterable(self.filled))


def power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count` (1 for 0)."""
    return 1 << max(0, count - 1).bit_length()


def micro_batches(count: int, rows: int) -> list[MicroBatch]:
    """Cut `count` items, Nones included, into runs of `rows`; the last is padded to a power of two.

    Raises:
        ValueError: `rows` is not positive.
    """
    if rows < 1:
        raise ValueError(f"expected at least one row per batch, got {rows}")
    plan = []
    for start in range(0, count, rows):
        stop = min(start + rows, count)
        padded = rows if stop - start == rows else min(rows, power_of_two(stop - start))
        plan.append(MicroBatch(start, stop, padded))
    return plan


def padded_length(length: int) -> int:
    """Up to a multiple of an eighth of the next power of two, and of 8: at most a quarter is padding
    (above 8), and few lengths are left to part a list into batches of one length.

    Raises:
        ValueError: the length is not positive.
    """
    if length < 1:
        raise ValueError(f"expected a positive length, got {length}")
    step = max(8, power_of_two(length) // 8)
    return -(-length // step) * step


def token_batches(
    lengths: Sequence[int], budget: int, *, items: int | None = None
) -> list[TokenBatch]:
    """Group examples of one (padded) length so that rows * length stays within `budget`.

    Shortest first, in the order of the list within a length. Every batch of a length has the same
    number of rows: as many as the budget allows, and no more than the list could need, for which
    `items` counts its items, Nones included (default: len(lengths)), up to a power of two.

    Raises:
        ValueError: a length or the budget is not positive.
    """
    if budget < 1 or any(length < 1 for length in lengths):
        raise ValueError("expected positive lengths and budget")
    most = power_of_two(len(lengths) if items is None else items)
    buckets: dict[int, list[int]] = defaultdict(list)
    for example, length in enumerate(lengths):
        buckets[length].append(example)
    plan = []
    for length, members in sorted(buckets.items()):
        rows = min(most, max(1, budget // length))
        for start in range(0, len(members), rows):
            plan.append(TokenBatch(tuple(members[start : start + rows]), rows, length))
    return plan


def packed_batches(lengths: Sequence[int], rows: int, room: int) -> list[PackedBatch]:
    """Fill rows of `room` tokens with examples, at most `rows` of them in a batch: the longest first,
    each into the row that it fills best (best-fit decreasing). One that is longer than a row (any,
    without room) is a batch by itself, of its own padded length.

    Raises:
        ValueError: a length or `rows` is not positive, or `room` is negative.
    """
    if min(rows, room + 1, *lengths) < 1:
        raise ValueError("expected positive lengths and rows, and room of 0 or more")
    alone: list[PackedBatch] = []
    filled: list[list[int]] = []
    spaces: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for example in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        length = lengths[example]
        if length > room:
            alone.append(PackedBatch(((example,),), padded_length(length)))
            continue
        best = bisect.bisect_left(spaces, (length, 0))
        if best == len(spaces):
            spaces.append((room, len(filled)))
            filled.append([])
        space, row = spaces.pop(best)
        filled[row].append(example)
        bisect.insort(spaces, (space - length, row))
    groups = (filled[start : start + rows] for start in range(0, len(filled), rows))
    return alone + [PackedBatch(tuple(map(tuple, group)), room) for group in groups]
