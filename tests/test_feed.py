"""Batches from the parts of a run: every row once, equal shares, the same again."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from learned import write_data

from learning import parallel
from pipeline.config import SplitConfig
from pipeline.errors import PolyfuseError
from pipeline.fit.feed import StoredFeed
from pipeline.fit.labels import Labels

ROWS = 430


def numbered(missing=0):
    """Row i holds i, so that a batch says which records it has; some rows lack `a`, `b` or both."""
    a = np.repeat(np.arange(ROWS, dtype=np.float32)[:, None], 3, axis=1)
    b = -np.repeat(np.arange(ROWS, dtype=np.float32)[:, None], 2, axis=1)
    if missing:
        a[::missing] = np.nan
        b[:: 2 * missing] = np.nan
    return {"a": a, "b": b}


def part_of(data, name):
    """The record numbers of one part of the split, read from the files."""
    table = pa.concat_tables(
        pq.read_table(data.run / s.split.folder / s.split.name) for s in data.shards
    )
    return {
        int(i.removeprefix("r"))
        for i, part in zip(*(table[c].to_pylist() for c in ("record_id", "part")), strict=True)
        if part == name
    }


def seen(batches):
    """Record numbers in order; checks that the features of a row belong together."""
    found = []
    for batch in batches:
        for i in range(len(batch)):
            has_a, has_b = bool(batch.present["a"][i]), bool(batch.present["b"][i])
            assert has_a or has_b
            number = batch.features["a"][i, 0] if has_a else -batch.features["b"][i, 0]
            if has_a and has_b:
                assert number == -batch.features["b"][i, 1]
            found.append(int(number))
    return found


@pytest.fixture
def world(monkeypatch):
    def become(rank, size):
        monkeypatch.setattr(parallel, "rank", lambda: rank)
        monkeypatch.setattr(parallel, "world", lambda: size)

    return become


@pytest.mark.parametrize("window", [1, 4_000, 10**9])
def test_an_epoch_has_each_training_row_at_most_once_in_whole_batches(tmp_path, window):
    data = write_data(tmp_path, numbered(missing=7))
    feed = StoredFeed(data, window=window)
    batches = list(feed.training(0, 32))
    order = seen(batches)
    wanted = part_of(data, "train") - set(range(0, ROWS, 14))  # those have neither feature
    assert {len(batch) for batch in batches} == {32}
    assert len(order) == len(set(order)) == len(wanted) // 32 * 32
    assert set(order) <= wanted
    assert sorted(seen(feed.once(32))) == sorted(wanted)
    assert sorted(seen(feed.validation(32))) == sorted(
        part_of(data, "valid") - set(range(0, ROWS, 14))
    )
    assert set(seen(feed.test(32))) == part_of(data, "test") - set(range(0, ROWS, 14))


def test_epochs_differ_and_are_the_same_again(tmp_path):
    data = write_data(tmp_path, numbered())
    first, again = (StoredFeed(data, seed=3, window=4_000) for _ in range(2))
    zero = seen(first.training(0, 32))
    assert zero == seen(again.training(0, 32))
    assert zero != seen(first.training(1, 32))
    assert zero != seen(StoredFeed(data, seed=4, window=4_000).training(0, 32))
    # Shuffled inside windows and between them: neighbours are seldom neighbours afterwards.
    assert np.mean(np.abs(np.diff(zero)) == 1) < 0.1


def test_skipped_batches_are_those_an_undisturbed_epoch_begins_with(tmp_path):
    feed = StoredFeed(write_data(tmp_path, numbered()), window=4_000)
    whole = seen(feed.training(2, 16))
    for skip in (1, 5, len(whole) // 16):
        assert seen(feed.training(2, 16, skip)) == whole[16 * skip :]


@pytest.mark.parametrize("size", [2, 3])
def test_workers_share_an_epoch_evenly_and_read_their_share_of_the_shards(
    tmp_path, world, size, monkeypatch
):
    data = write_data(tmp_path, numbered(), shard=20)
    orders, reads = [], []
    for rank in range(size):
        world(rank, size)
        feed = StoredFeed(data, window=1)
        loaded = []
        real = feed._load
        monkeypatch.setattr(feed, "_load", lambda s, real=real, to=loaded: to.append(s) or real(s))
        batches = list(feed.training(0, 30))
        assert {len(batch) for batch in batches} == {30 // size}
        orders.append(seen(batches))
        reads.append(len(loaded))
    assert len({len(order) for order in orders}) == 1
    together = [number for order in orders for number in order]
    assert len(together) == len(set(together))
    assert set(together) <= part_of(data, "train")
    assert max(reads) <= len(data.shards) / size + 2
    valid = []
    for rank in range(size):
        world(rank, size)
        valid += seen(StoredFeed(data).validation(30))
    assert sorted(valid) == sorted(part_of(data, "valid"))


def test_labels_come_with_their_rows_and_unlabelled_rows_stay_out(tmp_path):
    names = pa.array([None if i % 5 == 0 else f"class {i % 3}" for i in range(ROWS)])
    task = Labels("classify", ("class 0", "class 1", "class 2"))
    feed = StoredFeed(write_data(tmp_path, numbered(), labels=names, task=task), window=4_000)
    for batch in [*feed.training(0, 32), *feed.validation(32)]:
        numbers = batch.features["a"][:, 0].long()
        assert torch.equal(batch.targets, numbers % 3)
        assert not (numbers % 5 == 0).any()


def test_sequences_arrive_padded_with_their_steps_masked(tmp_path):
    steps = [None if i % 6 == 0 else np.full((i % 4 + 1, 2), i, np.float32) for i in range(ROWS)]
    feed = StoredFeed(write_data(tmp_path, numbered(), sequences={"s": steps}), window=4_000)
    for batch in feed.training(0, 32):
        numbers = batch.features["a"][:, 0].long()
        lengths = torch.where(numbers % 6 == 0, 0, numbers % 4 + 1)
        assert batch.features["s"].shape == (32, int(lengths.max()), 2)
        assert torch.equal(batch.present["s"].sum(dim=1), lengths)
        mean = batch.features["s"][..., 0].sum(dim=1)
        assert torch.equal(mean, (numbers * lengths).float())


def test_fewer_rows_than_a_batch_are_one_smaller_batch_and_none_are_refused(tmp_path):
    data = write_data(tmp_path / "few", numbered())
    assert [len(batch) for batch in StoredFeed(data).training(0, 10_000)] == [
        len(part_of(data, "train"))
    ]
    nobody = write_data(tmp_path / "none", {"a": np.full((20, 2), np.nan, np.float32)})
    with pytest.raises(PolyfuseError, match="0 records to train on .* with a"):
        StoredFeed(nobody)
    everybody = write_data(tmp_path / "all", numbered(), config=SplitConfig(test=0, valid=0))
    assert not list(StoredFeed(everybody).validation(32))
