"""Markers, revisions, attempts, and the lease that only one writer holds."""

import subprocess
import sys

import pytest

from pipeline.errors import Refused
from pipeline.lease import Holder, Lease
from pipeline.ledger import Ledger, Marker
from pipeline.store import PartFile


def marker(shard=0, unit="extract.image", revision=0, work="w", states="vx."):
    part = PartFile("features/image", f"part-{shard}-{revision}.parquet", 3, "ab", 10)
    return Marker(shard, unit, work, 3, (part,), {"image": states}, {"NOT_FOUND": 1}, 0.5, revision)


@pytest.fixture
def lease(tmp_path):
    with Holder(tmp_path) as held:
        yield held


def test_a_marker_comes_back_as_it_was(tmp_path, lease):
    ledger = Ledger(tmp_path)
    assert ledger.latest(0, "extract.image") is None
    assert ledger.commit(marker(), lease)
    assert ledger.latest(0, "extract.image") == marker()


def test_the_first_of_two_equal_commits_wins(tmp_path, lease):
    ledger = Ledger(tmp_path)
    assert ledger.commit(marker(work="first"), lease)
    assert not ledger.commit(marker(work="second"), lease)
    assert ledger.latest(0, "extract.image").work == "first"


def test_the_highest_revision_counts_and_prune_removes_the_others(tmp_path, lease):
    ledger = Ledger(tmp_path)
    for revision in range(12):
        ledger.commit(marker(revision=revision), lease)
    ledger.commit(marker(unit="extract.image2"), lease)
    assert ledger.latest(0, "extract.image").revision == 11
    assert sorted(m.revision for m in ledger.scan()) == [0, 11]
    ledger.prune({0}, {"extract.image", "extract.image2"})
    assert sorted(m.revision for m in ledger.scan()) == [0, 11]
    assert len(list((tmp_path / "ledger").rglob("*.json"))) == 2
    ledger.prune({0}, {"extract.image"})
    assert [m.unit for m in ledger.scan()] == ["extract.image"]
    ledger.prune({1}, {"extract.image"})
    assert not list(ledger.scan())


def test_scan_goes_by_shard_over_folders(tmp_path, lease):
    ledger = Ledger(tmp_path)
    for shard in (2500, 3, 1000, 0):
        ledger.commit(marker(shard), lease)
    assert [m.shard for m in ledger.scan()] == [0, 3, 1000, 2500]


def test_attempts_are_counted_until_a_commit(tmp_path, lease):
    ledger = Ledger(tmp_path)
    assert [ledger.attempt(0, "extract.image") for _ in range(3)] == [1, 2, 3]
    assert ledger.attempt(0, "extract.audio") == 1
    ledger.commit(marker(), lease)
    assert ledger.attempt(0, "extract.image") == 1


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path):
    with Holder(tmp_path), pytest.raises(Refused, match="is writing to it"):
        Holder(tmp_path)
    with Holder(tmp_path) as lease:
        assert lease.epoch == 2


def test_the_lease_of_a_dead_process_is_taken_over_and_its_commits_are_refused(tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, '.'); from pathlib import Path;"
        "from pipeline.lease import Holder; Holder(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    stale = Lease(tmp_path, 1)
    stale.check()  # nobody took over yet
    with Holder(tmp_path) as lease:
        assert lease.epoch == 2
        with pytest.raises(Refused, match="another writer took over"):
            Ledger(tmp_path).commit(marker(), stale)
        assert Ledger(tmp_path).latest(0, "extract.image") is None
