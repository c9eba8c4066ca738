"""The configurations we ship are valid, and say what their comments claim; mistakes in others."""

from pathlib import Path

import pytest

from jobs.sample import write_sample
from pipeline import config
from pipeline.errors import ConfigError
from pipeline.plan import FIRST_SHARD

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.mark.parametrize("name", ["products", "photos", "sounds", "cluster"])
def test_a_shipped_configuration_is_valid(name):
    loaded = config.load(CONFIGS / f"{name}.yaml")
    assert loaded.features()
    assert Path(loaded.output).is_absolute()


def test_the_catalogue_gives_five_features():
    loaded = config.load(CONFIGS / "products.yaml")
    names = [feature.name for feature in loaded.features()]
    assert names == ["image", "text", "audio", "video.frames", "video.sound"]
    assert loaded.models["look"].inputs == ("image", "video.frames")


def test_the_configuration_of_the_sample_is_valid(tmp_path):
    path = write_sample(tmp_path, records=24)
    loaded = config.load(path)
    assert Path(loaded.source.path) == tmp_path / "records.csv"
    assert Path(loaded.output).is_relative_to(tmp_path)
    assert len(loaded.features()) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"source": "t.csv"},
            r"^source: expected a mapping of path, id, where, types, got 't.csv'$",
        ),
        (
            {"modalities": {"title": "text"}},
            r"^modalities.title: expected a mapping of kind, .*encoder.*, got 'text'$",
        ),
    ],
)
def test_a_word_where_a_section_belongs_is_told_the_keys_of_the_section(changes, message):
    good = {"source": {"path": "t.csv"}, "modalities": {"title": {"kind": "text"}}, "output": "run"}
    config.parse(good, Path())
    with pytest.raises(ConfigError, match=message):
        config.parse({**good, **changes}, Path())


@pytest.mark.parametrize("value", [True, "64", 64.0])
def test_what_only_looks_like_a_number_is_refused(tmp_path, value):
    encoder = {"name": "hashed-ngrams", "dim": value}
    wanted = {"modalities": {"title": {"kind": "text", "encoder": encoder}}}
    content = {"source": {"path": "t.csv", "id": "id"}, "output": "run"} | wanted
    with pytest.raises(ConfigError, match=f"encoder.dim: expected a number, got {value!r}"):
        config.parse(content, tmp_path)


def test_shards_of_videos_are_small_unless_asked_otherwise():
    """Four thousand videos would be the work of hours, lost with the worker that dies."""
    clips = config.load(CONFIGS / "products.yaml")
    photos = config.load(CONFIGS / "photos.yaml")
    asked = config.load(CONFIGS / "products.yaml", ["shard.records=512"])
    assert photos.shard_sizes["records"] == 4096
    assert clips.shard_sizes["records"] <= 64
    assert clips.shard_sizes["first"] < FIRST_SHARD
    assert asked.shard_sizes["records"] == 512
