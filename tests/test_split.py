"""The split: shares, stability, groups, columns."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.config import SplitConfig
from pipeline.errors import ConfigError
from pipeline.fit.split import derive, parts_of


def records(count, **columns):
    ids = [f"id-{i}" for i in range(count)]
    blank = {"outcome": ["ok"] * count, "present": pa.array([[]] * count, pa.list_(pa.string()))}
    return pa.table({"record_id": ids, **blank, **columns})


def shares(parts):
    return {name: parts.to_pylist().count(name) / len(parts) for name in ("train", "valid", "test")}


def test_the_shares_are_those_asked_for():
    parts = parts_of(records(20_000), SplitConfig(test=0.2, valid=0.1))
    assert shares(parts) == pytest.approx({"train": 0.7, "valid": 0.1, "test": 0.2}, abs=0.01)


def test_appending_reordering_and_removing_rows_moves_nobody():
    table = records(500)
    config = SplitConfig(seed=5)
    whole = dict(
        zip(table["record_id"].to_pylist(), parts_of(table, config).to_pylist(), strict=True)
    )
    some = table.slice(100, 50).take(list(range(49, -1, -1)))
    for key, part in zip(
        some["record_id"].to_pylist(), parts_of(some, config).to_pylist(), strict=True
    ):
        assert whole[key] == part
    assert parts_of(table, config) != parts_of(table, SplitConfig(seed=6))


def test_a_larger_test_part_keeps_the_smaller_one():
    table = records(1000)
    small, large = (parts_of(table, SplitConfig(test=t)).to_pylist() for t in (0.1, 0.3))
    assert all(b == "test" for a, b in zip(small, large, strict=True) if a == "test")


def test_a_group_is_never_torn_apart():
    sellers = [f"seller {i % 37}" if i % 10 else None for i in range(2000)]
    parts = parts_of(records(2000, seller=sellers), SplitConfig(group="seller")).to_pylist()
    by_group = {}
    for seller, part in zip(sellers, parts, strict=True):
        if seller is not None:
            by_group.setdefault(seller, set()).add(part)
    assert all(len(found) == 1 for found in by_group.values())
    assert len({part for seller, part in zip(sellers, parts, strict=True) if seller is None}) == 3


def test_a_column_decides_alone_and_its_words_are_checked():
    words = ["train", " Valid", "val", "validation", "TEST", None, ""]
    table = records(7, fold=words)
    found = parts_of(table, SplitConfig(column="fold")).to_pylist()
    assert found == ["train", "valid", "valid", "valid", "test", None, None]
    with pytest.raises(ConfigError, match=r"split.column: fold holds 'dev'; expected train"):
        parts_of(records(1, fold=["dev"]), SplitConfig(column="fold"))
    with pytest.raises(ConfigError, match=r"split.column: .* no column 'nothing'.*there are: fold"):
        parts_of(table, SplitConfig(column="nothing"))
    with pytest.raises(ValidationError, match="a column decides alone"):
        SplitConfig(column="fold", seed=1)
    with pytest.raises(ValidationError, match="nothing to train on"):
        SplitConfig(test=0.6, valid=0.4)


def test_the_stored_table_has_the_ids_and_labels_beside_the_parts():
    table = derive(records(4), SplitConfig(), pa.array(["a", None, "b", "a"]))
    assert table.column_names == ["record_id", "part", "label"]
    assert "label" not in derive(records(4), SplitConfig(), None).column_names
