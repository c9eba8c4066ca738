import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.batching import (
    micro_batches,
    packed_batches,
    padded_length,
    power_of_two,
    token_batches,
)

counts = st.integers(0, 300)
rows = st.integers(1, 64)
lengths = st.lists(st.integers(1, 600), max_size=80)


@given(counts, rows)
def test_micro_batches_cover_the_list_in_order(count, rows):
    plan = micro_batches(count, rows)
    assert [place for part in plan for place in range(part.start, part.stop)] == list(range(count))
    assert all(part.rows == rows for part in plan[:-1])
    assert all(part.stop - part.start <= part.rows <= rows for part in plan)


@given(counts, rows)
def test_the_last_micro_batch_is_less_than_half_empty(count, rows):
    for part in micro_batches(count, rows)[-1:]:
        assert part.rows < 2 * (part.stop - part.start)


@given(lengths, st.integers(1, 4096))
def test_token_batches_hold_every_example_once_at_its_length(lengths, budget):
    plan = token_batches(lengths, budget)
    assert sorted(m for part in plan for m in part.members) == list(range(len(lengths)))
    for part in plan:
        assert 1 <= len(part.members) <= part.rows
        assert part.rows == 1 or part.rows * part.length <= budget
        assert part.rows == power_of_two(len(lengths)) or (part.rows + 1) * part.length > budget
        assert {lengths[member] for member in part.members} == {part.length}


def test_padding_is_little_and_lengths_are_few():
    padded = [padded_length(length) for length in range(1, 513)]
    assert all(0 <= given - length < max(8, length / 4) for length, given in enumerate(padded, 1))
    assert padded == sorted(padded)
    assert all(length % 8 == 0 and padded_length(length) == length for length in padded)
    assert len(set(padded)) == 20
    with pytest.raises(ValueError, match="positive length, got 0"):
        padded_length(0)


@given(lengths.filter(bool), st.integers(1, 4096), st.data())
def test_losing_an_item_changes_no_other_items_shape(lengths, budget, data):
    """A failed item is known only by the length of the list."""
    lost = data.draw(st.integers(0, len(lengths) - 1))
    rest = lengths[:lost] + lengths[lost + 1 :]

    def shapes(lengths):
        plan = token_batches(lengths, budget, items=items)
        return {m: (part.rows, part.length) for part in plan for m in part.members}

    items = len(lengths)
    before, after = shapes(lengths), shapes(rest)
    kept = [place for place in range(items) if place != lost]
    assert [before[place] for place in kept] == [after[place] for place in range(len(rest))]


def test_a_lone_short_text_is_computed_alone():
    (part,) = token_batches([8], 4096)
    assert (part.members, part.rows, part.length) == ((0,), 1, 8)


def test_similar_lengths_share_batches():
    plan = token_batches([32, 8, 32, 8, 104], budget=64)
    assert [(part.members, part.length) for part in plan] == [
        ((1, 3), 8),
        ((0, 2), 32),
        ((4,), 104),
    ]


@given(lengths, st.integers(1, 4), st.integers(0, 400))
def test_packed_batches_hold_every_example_once_in_rows_that_are_full(lengths, rows, room):
    plan = packed_batches(lengths, rows, room)
    assert sorted(m for part in plan for m in part.members) == list(range(len(lengths)))
    full = []
    for part in plan:
        filled = [sum(lengths[m] for m in row) for row in part.filled]
        assert 1 <= len(filled) <= rows
        assert max(filled) <= part.length
        if max(filled) > room:
            assert len(part.members) == 1
            assert part.length == padded_length(lengths[part.members[0]])
        else:
            assert part.length == room
            full += filled
    assert all(a + b > room for a, b in itertools.combinations(full, 2))  # no two could be one
    shared = [part for part in plan if all(lengths[m] <= room for m in part.members)]
    assert all(len(part.filled) == rows for part in shared[:-1])


def test_senseless_plans_are_refused():
    with pytest.raises(ValueError, match="at least one row per batch, got 0"):
        micro_batches(3, 0)
    with pytest.raises(ValueError, match="positive lengths"):
        token_batches([3, 0], 64)
    with pytest.raises(ValueError, match="positive lengths and rows"):
        packed_batches([3, 0], 2, 64)
