"""The generator of AV-MNIST-Open: deterministic, honest about its parts, as hard as it says."""

import csv

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.avmnist import dataset, folds
from benchmarks.avmnist.dataset import PARTS, SPLITS, Images, Sounds
from benchmarks.avmnist.sounds import right_answers


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
    codes = images.codes(5)
    fitted = codes[:55_000]
    # Uncorrelated around zero, and they explain the published shares of the variance (60,000 images).
    np.testing.assert_allclose(fitted.mean(0), 0, atol=1e-9)
    covariance = np.cov(fitted.T, bias=True)
    np.testing.assert_allclose(covariance, np.diag(covariance.diagonal()), atol=1e-9)
    total = sum(((images.pixels[i : i + 5_000] / 255 - images.mean) ** 2).sum()
                for i in range(0, 55_000, 5_000)) / 55_000  # fmt: skip
    shares = 100 * covariance.diagonal().cumsum() / total
    np.testing.assert_allclose(shares, [9.7, 16.8, 23.0, 28.4, 33.2], atol=0.15)


def test_the_mean_is_put_back(images):
    rows = np.arange(60_000, 61_000)
    shown = images.shown(rows).reshape(-1, 784)
    # What components leave out is all that differs, and it is not the mean.
    left = images.pixels[rows] / 255 - shown
    np.testing.assert_allclose(left.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(left @ images.components[:4].T, 0, atol=1e-9)


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


@pytest.mark.parametrize("split", ["seen", "unseen-theo"])
def test_a_clip_is_described_by_networks_that_never_heard_it_or_its_speaker(clips, split):
    parts = clips.part(split)
    described = {part: np.zeros(len(clips.labels), int) for part in PARTS}
    for network in folds.networks(clips, split):
        for part, rows in network.describes.items():
            assert not set(rows) & set(network.heard)
            described[part][rows] += 1
            if split != "seen":
                assert not set(clips.speakers[rows]) & set(clips.speakers[network.heard])
    assert (described["train"][parts["train"]] == 1).all()
    assert (described["test"][parts["test"]] >= 3).all()
    assert not (np.isin(parts["test"], folds.networks(clips, split)[0].heard)).any()


def test_the_fixed_answers_tell_all_digits_apart():
    answers = right_answers()
    assert answers.sum(dim=0).eq(0).all()  # five digits on either side of every question
    distances = torch.cdist(answers, answers, p=0)
    assert (
        distances[~torch.eye(10, dtype=bool)].min() >= 24
    )  # of 64: far more than one wrong answer
