"""A model beyond its memory is refused with the number and with what would fit."""

import pytest

from encoders.base import Identity
from pipeline import config as configuration
from pipeline.errors import ConfigError
from pipeline.memory import check_memory

IDENTITIES = {"image": Identity("x", 2048, "", {}), "text": Identity("y", 768, "", {})}


def with_models(tmp_path, models, **keys):
    data = {
        "source": {"path": "x.csv"},
        "modalities": {"image": {"kind": "image"}, "text": {"kind": "text"}},
        "output": "run",
        "models": models,
        **keys,
    }
    return configuration.parse(data, tmp_path)


def test_the_core_of_a_public_default_is_refused_with_the_size_that_fits(tmp_path):
    config = with_models(tmp_path, {"joint": {"name": "tucker", "hidden": 1600}})
    with pytest.raises(
        ConfigError, match=r"models\.joint: tucker needs 11\d GB .*4,10\d,\d{3},\d{3}.*"
    ) as err:
        check_memory(config, IDENTITIES)
    said = str(err.value)
    assert "the memory budget is 4 GB" in said
    hidden = int(said.partition("hidden: ")[2].split()[0])
    fitting = {"joint": {"name": "tucker", "hidden": hidden}}
    check_memory(with_models(tmp_path, fitting), IDENTITIES)


def test_each_model_has_a_memory_of_its_own(tmp_path):
    small = {"joint": {"name": "gmu", "memory": "10MB"}}
    with pytest.raises(ConfigError, match=r"models\.joint: gmu needs .*the memory budget is 10 MB"):
        check_memory(with_models(tmp_path, small), IDENTITIES)
    check_memory(with_models(tmp_path, {"joint": {"name": "gmu", "memory": "100MB"}}), IDENTITIES)


def test_the_batch_of_the_training_counts(tmp_path):
    wide = {"joint": {"name": "gmu", "memory": "100MB", "training": {"batch": 100_000}}}
    with pytest.raises(ConfigError, match="on batches of 100000"):
        check_memory(with_models(tmp_path, wide), IDENTITIES)


def test_what_is_not_known_yet_is_not_judged(tmp_path):
    models = {"first": {"name": "gmu"}, "second": {"name": "sum", "inputs": ["first", "text"]}}
    check_memory(with_models(tmp_path, models), IDENTITIES)
    late = {"late": {"name": "decision-product"}}
    config = with_models(tmp_path, late, label={"column": "kind"})
    check_memory(config, IDENTITIES)
