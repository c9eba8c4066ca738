"""Concat against its formula in numpy, and how inputs are checked and pooled for every fusion."""

import itertools

import numpy as np
import pytest
import torch

import fusion
from fusion.presence import masked, unit

DIMS = {"text": 5, "image": 3, "sound": 4}
PATTERNS = list(itertools.product([False, True], repeat=len(DIMS)))


def batch(seed=0, rows=8):
    """One row per presence pattern."""
    generator = torch.Generator().manual_seed(seed)
    features = {n: torch.randn(rows, d, generator=generator) for n, d in DIMS.items()}
    table = torch.tensor((PATTERNS * rows)[:rows]).reshape(rows, len(DIMS))
    return features, {name: table[:, i] for i, name in enumerate(DIMS)}


def formula(features, present, weights):
    total = sum(weights.values())
    columns = []
    for name in sorted(DIMS):
        x = features[name].numpy().astype(np.float64)
        unit_rows = x / np.linalg.norm(x, axis=1, keepdims=True)
        kept = np.where(present[name].numpy()[:, None], unit_rows, 0.0)
        columns.append(kept * np.sqrt(weights[name] / total))
    return np.concatenate(columns, axis=1)


@pytest.mark.parametrize("weights", [{}, {"image": 2.0, "text": 1.0, "sound": 0.5}])
def test_every_presence_pattern_equals_the_formula(weights):
    features, present = batch()
    model = fusion.build("concat", DIMS, weights=weights)
    got = model(features, present).vector
    expected = formula(features, present, weights or dict.fromkeys(DIMS, 1.0))
    assert got.shape == (len(PATTERNS), model.dim) == (8, 12)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_inner_product_is_the_weighted_sum_of_cosines_over_shared_features():
    features, present = batch(rows=2)
    present = {name: torch.tensor([True, name != "text"]) for name in DIMS}
    a, b = fusion.build("concat", DIMS)(features, present).vector
    shared = [torch.cosine_similarity(*features[n], dim=0) for n in ("image", "sound")]
    torch.testing.assert_close(a @ b, sum(shared) / 3)


def test_wrong_inputs_are_named():
    features, present = batch()
    model = fusion.build("concat", DIMS)
    with pytest.raises(ValueError, match=r"unknown feature 'smell'.*image, sound, text"):
        model({**features, "smell": features["text"]}, present)
    with pytest.raises(ValueError, match=r"'text'.*expected \(B, 5\).*\(8, 4\)"):
        model({**features, "text": features["text"][:, :4]}, present)
    with pytest.raises(ValueError, match=r"present\['text'\].*bool"):
        model(features, {**present, "text": present["text"].float()})
    with pytest.raises(ValueError, match=r"number of records: \[7, 8\]"):
        model({**features, "text": features["text"][:7]}, present)
    with pytest.raises(ValueError, match="no feature given"):
        model({}, {})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"smell": 1.0}, "unknown feature 'smell'"),
        ({"image": 1.0}, "sound, text has none"),
        ({"image": -1.0, "text": 1.0, "sound": 1.0}, ">= 0"),
        ({"image": 0.0, "text": 0.0, "sound": 0.0}, "not all zero"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        fusion.build("concat", DIMS, weights=weights)


def test_a_present_zero_vector_is_a_zero_block():
    zeros = {n: torch.zeros(2, d) for n, d in DIMS.items()}
    present = {n: torch.ones(2, dtype=torch.bool) for n in DIMS}
    assert not fusion.build("concat", DIMS)(zeros, present).vector.any()


def test_sequences_enter_as_the_mean_of_their_present_steps():
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    values, masks = masked({"v": 2}, {"v": x}, {"v": torch.tensor([[True, True, False]])})
    assert torch.equal(values["v"], torch.tensor([[0.5, 0.5]]))
    assert masks["v"].tolist() == [True]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_unit_neither_under_nor_overflows(scale):
    torch.testing.assert_close(unit(torch.tensor([[3.0, 4.0]]) * scale), torch.tensor([[0.6, 0.8]]))
