"""The generator of AV-MNIST-Open: deterministic, honest about its parts, as hard as it says."""

import csv

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.avmnist import dataset
from benchmarks.avmnist.dataset import PARTS, SPLITS, Images, Sounds


@pytest.fixture(scope="module")
def images(data):
    return Images(data / "mnist")


@pytest.fixture(scope="module")
def clips(data):
    return Sounds(data / "fsdd")


def test_the_pairs_never_change(images, clips):
    found = {split: dataset.digest(dataset.pairs(images, clips, split)) for split in SPLITS}
    assert found == dataset.DIGESTS


@pytest.mark.parametrize("split", ["seen", "unseen-theo"])
def test_a_pair_shows_one_digit_and_no_recording_is_in_two_parts(images, clips, split):
    parts = dataset.pairs(images, clips, split)
    for own in parts.values():
        np.testing.assert_array_equal(images.labels[own.image], own.label)
        np.testing.assert_array_equal(clips.labels[own.sound], own.label)
    assert [len(parts[part].label) for part in PARTS] == [55_000, 5_000, 10_000]
    used = [set(parts[part].sound) for part in PARTS]
    assert sum(len(rows) for rows in used) == len(set.union(*used)) == 2_400
    for part in PARTS:  # of one digit, a recording is used as often as any other
        own = parts[part].sound[parts[part].label == 3]
        uses = np.bincount(own)[np.unique(own)]
        assert uses.max() - uses.min() <= 1


def test_unseen_speakers_are_unheard_and_seen_ones_follow_the_official_split(images, clips):
    parts = dataset.pairs(images, clips, "unseen-lucas")
    assert set(clips.speakers[parts["test"].sound]) == {"lucas"}
    assert "lucas" not in set(clips.speakers[parts["train"].sound])
    assert "lucas" not in set(clips.speakers[parts["valid"].sound])
    seen = dataset.pairs(images, clips, "seen")
    assert set(clips.takes[seen["test"].sound]) == set(range(5))


def test_another_seed_pairs_otherwise_and_an_unknown_split_is_named(images, clips):
    assert dataset.digest(dataset.pairs(images, clips, "seen", seed=1)) != dataset.DIGESTS["seen"]
    with pytest.raises(ValueError, match="unknown split 'unheard'; known: seen, unseen-george"):
        dataset.pairs(images, clips, "unheard")


def test_components_are_those_of_the_first_55000_images(images):
    pixels = images.pixels / 255
    fitted = pixels[:55_000]
    scatter = np.cov(fitted.T, bias=True)
    directions = images.components[:5]
    variances = np.linalg.eigvalsh(scatter)[::-1][:5]
    np.testing.assert_allclose(scatter @ directions.T, directions.T * variances, atol=1e-9)
    np.testing.assert_allclose(images.codes(5), (pixels - fitted.mean(0)) @ directions.T, atol=1e-9)
    # The mean is put back: what is shown lies around the digits, not around zero.
    rows = np.arange(60_000, 70_000)
    shown = images.shown(rows).reshape(-1, 784)
    np.testing.assert_allclose(shown.mean(0), pixels[rows].mean(0), atol=0.05)


@pytest.mark.parametrize(("k", "accuracy"), [(3, 0.537), (4, 0.665), (5, 0.771)])
def test_the_images_are_as_hard_as_stated(images, k, accuracy):
    codes = images.codes(k)
    neighbours = KNeighborsClassifier(50).fit(codes[:60_000], images.labels[:60_000])
    found = neighbours.score(codes[60_000:], images.labels[60_000:])
    assert found == pytest.approx(accuracy, abs=0.01)


def test_the_index_file_holds_the_pairs(images, clips, tmp_path):
    parts = dataset.pairs(images, clips, "seen")
    digest = dataset.write_index(parts, tmp_path / "seen.csv")
    with (tmp_path / "seen.csv").open(encoding="ascii") as file:
        rows = list(csv.DictReader(file))
    assert digest == dataset.DIGESTS["seen"]
    assert len(rows) == 70_000
    sounds = [int(row["sound"]) for row in rows if row["part"] == "test"]
    np.testing.assert_array_equal(sounds, parts["test"].sound)
