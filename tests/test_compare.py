"""A comparison trains every entrant alike, keeps what is done, and judges by what training has not seen."""

import itertools
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learned import write_data
from sklearn.metrics import f1_score, r2_score

from fusion.batch import Batch
from fusion.objectives.prediction import Prediction
from fusion.trial import Candidate, Parts, Score, Task, attempt, judge, patterns, price, show
from learning.loop import Recipe
from pipeline import config as configuration
from pipeline.compare.leaderboard import Training
from pipeline.compare.run import compare
from pipeline.compare.schedule import Price, Schedule, within
from pipeline.compare.trainings import Trainings
from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.store import publish_snapshot

CLASSES = 4
TASK = Task("classify", {"classes": CLASSES, "hidden": (16,), "dropout": 0.3})
RECIPE = Recipe(steps=60, evaluate=20, warmup=10, learning_rate=1e-2)


def two_views(rows, seed=0, missing=0.2):
    """The class is a pair of bits, and each feature tells one of them: only both know it."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (rows, 2))
    a = rng.normal(size=(rows, 6)) * 0.3 + (2 * bits[:, :1] - 1)
    b = rng.normal(size=(rows, 4)) * 0.3 + (2 * bits[:, 1:] - 1)
    gone = rng.random((rows, 2)) < missing
    gone[gone.all(axis=1)] = False
    features = {"a": a.astype(np.float32), "b": b.astype(np.float32)}
    return features, {"a": ~gone[:, 0], "b": ~gone[:, 1]}, 2 * bits[:, 0] + bits[:, 1]


def as_parts(rows=600):
    features, present, labels = two_views(rows)
    everything = Batch(
        {name: torch.tensor(x) for name, x in features.items()},
        {name: torch.tensor(x) for name, x in present.items()},
        torch.tensor(labels),
    )
    ends = [0, rows // 2, 3 * rows // 4, rows]
    return Parts(*(everything.rows(torch.arange(*pair)) for pair in itertools.pairwise(ends)))


@pytest.fixture(scope="module")
def parts():
    return as_parts()


def test_a_fusion_knows_what_its_features_know_together(parts):
    score = attempt(Candidate("sum", ("a", "b")), TASK, parts, RECIPE)
    assert list(score.patterns) == ["a+b", "a", "b"]
    assert score.patterns["a+b"] > 0.95
    assert 0.35 < score.patterns["a"] < 0.65  # one bit of two
    assert score.steps == 60
    again = attempt(Candidate("sum", ("a", "b")), TASK, parts, RECIPE)
    assert (again.test, again.valid, again.patterns) == (score.test, score.valid, score.patterns)


def test_a_single_modality_is_judged_on_the_same_records_as_a_fusion(parts):
    alone = Candidate("decision-product", ("a",), {"classes": CLASSES, "hidden": 16})
    score = attempt(alone, TASK, parts, RECIPE)
    assert list(score.patterns) == ["a+b", "a", "b"]
    assert 0.35 < score.test < 0.65
    frequency = torch.bincount(parts.train.targets).argmax()
    chosen = show(parts.test, ["b"]).targets == frequency  # it can but guess the commonest class
    assert score.patterns["b"] == pytest.approx(float(chosen.double().mean()))


def test_a_pattern_hides_the_other_features_and_keeps_the_records_that_have_it(parts):
    shown = show(parts.test, ["a"])
    assert len(shown) == int(parts.test.present["a"].sum())
    assert shown.present["a"].all()
    assert not shown.present["b"].any()


def test_many_features_are_scored_alone_and_with_one_left_out():
    assert len(patterns("abcd")) == 15
    assert patterns("abcd")[0] == ("a", "b", "c", "d")
    many = patterns("abcdefg")
    assert [len(chosen) for chosen in many] == [7] + [6] * 7 + [1] * 7


def test_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    wanted, chances = rng.integers(0, 2, (50, 5)).astype(float), rng.random((50, 5))
    several = Prediction(torch.tensor(chances >= 0.5), torch.tensor(chances))
    assert judge(Task("multilabel", {}), several, torch.tensor(wanted)) == pytest.approx(
        f1_score(wanted, chances >= 0.5, average="micro")
    )
    numbers = rng.normal(size=(40, 3))
    guessed = numbers + rng.normal(size=(40, 3))
    explained = judge(Task("regress", {}), Prediction(torch.tensor(guessed)), torch.tensor(numbers))
    assert explained == pytest.approx(r2_score(numbers, guessed))
    sure = torch.eye(3)[[0, 2, 0, 2]]
    labels = torch.tensor([0, 1, -1, 2])  # the third is unknown
    assert judge(TASK, Prediction(sure.argmax(dim=1), sure), labels) == pytest.approx(2 / 3)
    assert judge(TASK, Prediction(sure[:1].argmax(dim=1), sure[:1]), torch.tensor([-1])) is None


def test_a_price_is_told_in_seconds(parts):
    once, step = price(Candidate("sum", ("a", "b")), TASK, parts, RECIPE)
    assert once > 0
    assert step >= 0


WISH = Schedule(steps=3000, seeds=3, learning_rates=(3e-4, 1e-3, 3e-3))


def test_a_budget_that_suffices_changes_nothing():
    assert within(1e6, {"sum": Price(1, 0.01)}, WISH, workers=1) == WISH


@pytest.mark.parametrize(
    ("budget", "steps", "seeds", "rates"),
    [
        (150, 2500, 3, (3e-4, 1e-3, 3e-3)),
        (24, 500, 2, (3e-4, 1e-3, 3e-3)),
        (18, 500, 2, (1e-3, 3e-3)),
        (12, 500, 2, (1e-3,)),
        (6, 500, 1, (1e-3,)),
        (1.2, 100, 1, (1e-3,)),
        (0.001, 20, 1, (1e-3,)),
    ],
)
def test_what_does_not_fit_is_saved_in_order(budget, steps, seeds, rates):
    found = within(budget * 1.0001, {"sum": Price(0.0, 0.01)}, WISH, workers=1)
    assert found.steps == pytest.approx(steps, abs=1)
    assert (found.seeds, found.learning_rates) == (seeds, rates)
    assert found.cuts


@settings(deadline=None)
@given(
    st.floats(1, 1e5),
    st.lists(st.tuples(st.floats(0, 2), st.floats(1e-4, 1)), min_size=1, max_size=20),
    st.integers(1, 8),
)
def test_a_schedule_keeps_to_its_budget_or_is_the_least_there_is(budget, prices, workers):
    named = {str(i): Price(*pair) for i, pair in enumerate(prices)}
    found = within(budget, named, WISH, workers)
    least = found.steps == 20 and found.trainings == 1
    assert found.seconds(named, workers) <= budget * 1.001 or least


def a_score(test=0.5):
    return Score(test, 0.4, {"a+b": test, "a": None}, 10, 1.5, 20, 0.1)


def test_trainings_are_kept_and_other_settings_are_refused(tmp_path):
    kept = Trainings(tmp_path / "x")
    kept.claim({"data": "1", "recipe": {"batch": 4}})
    kept.claim({"data": "1", "recipe": {"batch": 4}})
    with pytest.raises(Refused, match=r"other recipe: give this one another --name, or --restart"):
        kept.claim({"data": "1", "recipe": {"batch": 8}})
    found = [Training("sum", 1e-3, 0, 20, a_score()), Training("gmu", 1e-3, 0, 20, None, "no")]
    for training in found:
        kept.keep(training)
    assert sorted(kept.load(), key=lambda t: t.row) == sorted(found, key=lambda t: t.row)
    assert kept.schedule({"budget": 1}) is None
    kept.keep_schedule(WISH, {"budget": 1})
    assert kept.schedule({"budget": 1}) == WISH
    assert kept.schedule({"budget": 2}) is None
    kept.forget()
    assert kept.load() == []


def a_config(run, **keys):
    data = {
        "source": {"path": "x.csv"},
        "modalities": {"a": {"kind": "text"}, "b": {"kind": "text"}},
        "output": str(run),
        "label": {"column": "kind"},
        "compare": {"steps": 40, "seeds": 2, "learning_rates": [0.01], "budget": "90s", **keys},
    }
    return configuration.parse(data, run)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Stored vectors with labels and a split, as `polyfuse extract` leaves them."""
    folder = tmp_path_factory.mktemp("run")
    features, present, labels = two_views(400)
    holes = {n: np.where(present[n][:, None], x, np.nan) for n, x in features.items()}
    column = pa.array([f"class {label}" for label in labels])
    data = write_data(folder, holes, shard=100, labels=column)
    written = [
        (number, part)
        for number, shard in enumerate(data.shards)
        for part in (*shard.inputs.values(), shard.records, shard.split)
    ]
    publish_snapshot(folder, written, {"records": 400})
    return folder


@pytest.mark.ray
@pytest.mark.usefixtures("two_cpus")
def test_one_command_ranks_them_and_goes_on_where_it_stopped(run):
    models = ["sum", {"name": "tucker", "hidden": 2000}]
    board, folder = compare(a_config(run, models=models, memory="100MB"))
    rows = {row.row: row for row in board.rows}
    assert set(rows) == {"only a", "only b", "decision-product", "sum", "tucker hidden=2000"}
    assert board.metric == "accuracy"
    assert rows["sum"].seeds == 2
    assert rows["sum"].mean > max(rows["only a"].mean, rows["only b"].mean) + 0.2
    assert rows["sum"].patterns["a+b"].mean > rows["sum"].patterns["a"].mean + 0.3
    assert sum(row.best_single for row in board.rows) == 1
    giant = rows["tucker hidden=2000"]
    assert giant.mean is None
    assert "what fits: hidden: " in giant.note
    table = pq.read_table(folder / "leaderboard.parquet").to_pylist()
    assert [line["row"] for line in table] == [row.row for row in board.rows]

    before = {path: path.stat().st_mtime_ns for path in folder.glob("trainings/*")}
    assert len(before) == 4 * 2  # each of those that fit, twice
    compare(a_config(run, models=["sum", "gmu"]))
    after = {path: path.stat().st_mtime_ns for path in folder.glob("trainings/*")}
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 2


def test_a_comparison_without_a_label_or_on_another_recipe_is_explained(run):
    config = a_config(run)
    with pytest.raises(ConfigError, match="there is none; add label"):
        compare(config.model_copy(update={"label": None}))
    Trainings(run / "compare" / "other").claim({"data": "", "task": "", "recipe": {}})
    with pytest.raises(Refused, match="another --name"):
        compare(config, "other")


def test_a_split_without_a_test_part_is_explained(tmp_path):
    from pipeline.compare.data import load

    features, _, labels = two_views(60)
    config = configuration.SplitConfig(test=0, valid=0.2)
    column = pa.array([str(label) for label in labels])
    data = write_data(tmp_path, features, labels=column, config=config)
    data = type(data)(
        data.run,
        data.shards,
        data.features,
        data.settle_labels(configuration.LabelConfig(column="k")),
    )
    with pytest.raises(PolyfuseError, match="no labelled record in the test part"):
        load(data, 100)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"models": ["sun"]}, r"compare\.models\.0\.name: unknown name 'sun', did you mean 'sum'"),
        ({"models": [{"name": "sum", "rank": 3}]}, r"compare\.models\.0\.rank: unknown key 'rank'"),
        ({"inputs": ["c"]}, r"compare\.inputs: 'c' is no feature"),
        ({"budget": "soon"}, r"compare\.budget: expected a time such as"),
        ({"seeds": 0}, r"compare\.seeds"),
    ],
)
def test_a_mistake_in_the_configuration_is_told_before_anything_runs(tmp_path, keys, said):
    with pytest.raises(ConfigError, match=said):
        a_config(tmp_path, **keys)


def test_times_are_read():
    assert configuration.comparison.parse_seconds("10m") == 600
    assert configuration.comparison.parse_seconds("1.5h") == 5400
    assert math.isclose(configuration.comparison.parse_seconds("90s"), 90)
