from dataclasses import replace
from itertools import islice

from pipeline.plan import FIRST_SHARD, SHARDS_PER_SIZE, Shard, growing
from pipeline.todo import well_ordered
from pipeline.units import Unit


def units(sizes):
    shard = Shard(0, 0, "t.csv", 0, 1, 0, 0, "")
    return [
        Unit("extract.title", replace(shard, number=number, rows=rows), "work")
        for number, rows in enumerate(sizes)
    ]


def test_work_begins_small_and_ends_small():
    sizes = [limit.rows for limit in islice(growing(4096, 10**9), 22)]
    ordered = [unit.shard.rows for unit in well_ordered(units(sizes))]
    assert sorted(ordered) == sorted(sizes)
    small = [FIRST_SHARD] * (SHARDS_PER_SIZE // 2)
    assert ordered[: len(small)] == ordered[-len(small) :] == small
    assert ordered[len(small) :] == sorted(ordered[len(small) :], reverse=True)


def test_shards_of_one_size_keep_their_order():
    ordered = [unit.shard.number for unit in well_ordered(units([8] * 9))]
    assert ordered == list(range(9))
    assert well_ordered([]) == []
