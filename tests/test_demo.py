"""The number that the demo prints."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from jobs.demo import precision_at_5

ROOT = Path(__file__).resolve().parent.parent


def test_precision_is_that_of_an_independent_search():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 120)
    vectors = rng.normal(size=(120, 16)) + 1.5 * np.eye(16)[labels]
    neighbours = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(vectors)
    found = neighbours.kneighbors(return_distance=False)  # without the point itself
    expected = np.mean([labels[row] == label for row, label in zip(found, labels, strict=True)])
    assert 0.3 < expected < 0.99
    assert precision_at_5(vectors, labels) == expected


def test_clean_clusters_are_perfect_and_a_zero_row_does_no_harm():
    vectors = np.repeat(np.eye(3), 8, axis=0).astype(np.float32)
    labels = np.repeat([0, 1, 2], 8)
    assert precision_at_5(vectors, labels) == 1.0
    vectors[20] = 0
    assert 0.9 < precision_at_5(vectors, labels) < 1


@pytest.mark.ray
def test_the_demo_finds_the_right_neighbours_by_every_single_modality(tmp_path):
    command = [sys.executable, "-m", "jobs.demo", str(tmp_path / "demo")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = dict(re.findall(r"^(image|text|audio) +([01]\.\d+)", done.stdout, re.MULTILINE))
    assert set(printed) == {"image", "text", "audio"}
    assert min(map(float, printed.values())) >= 0.9
