from dataclasses import replace
from itertools import islice

from pipeline.plan import FIRST_SHARD, FIRST_SHARDS, Shard, growing
from pipeline.todo import well_ordered
from pipeline.units import Unit


def units(sizes):
    shard = Shard(0, 0, "t.csv", 0, 1, 0, 0, "")
    return [
        Unit("extract.title", replace(shard, number=number, rows=rows), "work")
        for number, rows in enumerate(sizes)
    ]


def test_work_begins_small_and_ends_smaller():
    sizes = [limit.rows for limit in islice(growing(4096, 10**9), 22)]
    ordered = [unit.shard.rows for unit in well_ordered(units(sizes))]
    assert sorted(ordered) == sorted(sizes)
    assert ordered[:FIRST_SHARDS] == [FIRST_SHARD] * FIRST_SHARDS
    assert ordered[FIRST_SHARDS:] == sorted(sizes[FIRST_SHARDS:], reverse=True)
    assert max(ordered[-4:]) < FIRST_SHARD / 2


def test_workers_end_together_though_each_takes_its_next_shard_early():
    def idle(records):
        """The share of its time that the first to end of two workers waits for the other. Each has a
        shard in hand and one waiting, a record takes one second, the second one starts later."""
        ends: list[list[float]] = [[0.0], [0.03 * records]]
        for unit in well_ordered(units(sizes_of(records))):
            free = [of_worker[-2] if len(of_worker) > 2 else 0.0 for of_worker in ends]
            mine = ends[free.index(min(free))]
            mine.append(mine[-1] + unit.shard.rows)
        first, last = sorted(of_worker[-1] for of_worker in ends)
        return (last - first) / last

    waits = [idle(records) for records in range(300, 5000, 7)]
    assert sum(waits) / len(waits) < 0.01
    assert max(waits) < 0.1


def sizes_of(records):
    sizes = []
    for limit in growing(4096, 10**9):
        sizes.append(min(limit.rows, records - sum(sizes)))
        if sum(sizes) == records:
            return sizes


def test_shards_of_one_size_keep_their_order():
    ordered = [unit.shard.number for unit in well_ordered(units([8] * 9))]
    assert ordered == list(range(9))
    assert well_ordered([]) == []
