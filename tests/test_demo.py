"""The number that the demo prints."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from jobs.demo import precision_at_5


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
