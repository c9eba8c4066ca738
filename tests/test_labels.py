"""Labels: which task they are for, which classes there are, files of them, numbers for the loss."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.config import LabelConfig
from pipeline.errors import ConfigError
from pipeline.fit.labels import Labels, read_file, settle, values_of

COLUMN = LabelConfig(column="y")


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a", None, "b", ""], "classify", ("a", "b")),
        ([True, False, None], "classify", ("false", "true")),
        ([10, 9, 2, None], "classify", ("2", "9", "10")),
        (list(range(300)), "regress", ()),
        ([0.5, 1.0, None], "regress", ()),
        ([["x"], ["y", "x"], [], None], "multilabel", ("x", "y")),
    ],
)
def test_auto_follows_the_values(values, task, classes):
    column = pa.array(values)
    half = len(values) // 2
    assert settle(COLUMN, [column.slice(0, half), column.slice(half)]) == Labels(task, classes)


def test_an_explicit_task_prevails():
    numbers = pa.array(["1.5", "2", "", None])
    assert settle(LabelConfig(column="y", task="regress"), [numbers]) == Labels("regress")
    few = settle(LabelConfig(column="y", task="regress"), [pa.array([1, 2])])
    assert few == Labels("regress")
    lists = pa.array(['["b", "a"]', "c", None])
    assert settle(LabelConfig(column="y", task="multilabel"), [lists]).classes == ("a", "b", "c")
    with pytest.raises(ConfigError, match="regress needs numbers"):
        settle(LabelConfig(column="y", task="regress"), [pa.array(["red"])])


def test_encoded_for_the_loss():
    classify = Labels("classify", ("a", "b"))
    column = pa.array(["b", None, "a", "new", ""])
    assert classify.encode(column).tolist() == [1, -1, 0, -1, -1]
    assert classify.known(column).tolist() == [True, False, True, False, False]
    numbers = Labels("regress").encode(pa.array([1.5, None]))
    assert numbers.shape == (2, 1)
    assert torch.equal(numbers.isnan()[:, 0], torch.tensor([False, True]))
    several = Labels("multilabel", ("x", "y"))
    column = pa.array([["y"], [], None])
    assert several.encode(column)[:2].tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert several.known(column).tolist() == [True, True, False]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_file_of_labels_is_joined_by_id(tmp_path, suffix):
    rows = [{"key": 3, "y": "c"}, {"key": 1, "y": "a"}, {"key": 9, "y": "never asked"}]
    path = tmp_path / f"labels.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        sign = "," if suffix == "csv" else "\t"
        path.write_text("\n".join([f"key{sign}y", *(f"{r['key']}{sign}{r['y']}" for r in rows)]))
    config = LabelConfig(column="y", file=str(path), id="key")
    records = pa.table({"record_id": ["1", "2", "3"]})
    assert values_of(records, config, read_file(config, None)).to_pylist() == ["a", None, "c"]


def test_a_wrong_file_is_one_sentence(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("key,y\n1,a\n1,b\n")
    with pytest.raises(ConfigError, match="an id occurs twice"):
        read_file(LabelConfig(column="y", file=str(path), id="key"), None)
    with pytest.raises(ConfigError, match=r"label.column: .* no column 'z'; there are: key, y"):
        read_file(LabelConfig(column="z", file=str(path), id="key"), None)
    with pytest.raises(ConfigError, match="label.id: which column"):
        read_file(LabelConfig(column="y", file=str(path)), None)
    with pytest.raises(ConfigError, match="can't read"):
        read_file(LabelConfig(column="y", file=str(tmp_path / "no.csv"), id="key"), None)


def test_useless_labels_are_refused():
    with pytest.raises(ConfigError, match="no record has a value in 'y'"):
        settle(COLUMN, [pa.array([None, None], pa.string())])
    with pytest.raises(ConfigError, match="at least two classes in 'y'"):
        settle(COLUMN, [pa.array(["only", "only"])])
