"""Streaming moments against numpy, in any split of the rows."""

import numpy as np
import pytest
import torch

import fusion
from fusion.batch import Batch
from learning import moments
from learning.reduce import reduce


@pytest.mark.parametrize("cuts", [[], [1], [0, 3, 3, 40], list(range(1, 50))])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_merged_moments_are_those_of_all_rows(cuts, offset):
    rows = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([1, 2, 3, 4]) + offset
    for full in (False, True):
        state = moments.empty(4, full=full)
        for part in np.split(rows, cuts):
            state = moments.merge(state, moments.of_rows(torch.tensor(part), full=full))
        expected = np.cov(rows.T, bias=True) if full else rows.var(axis=0)
        assert state["count"] == 50
        np.testing.assert_allclose(state["mean"], rows.mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(state["scatter"] / 50, expected, rtol=1e-8, atol=1e-8)


def test_inputs_are_standardised_by_their_present_rows_alone():
    generator = torch.Generator().manual_seed(0)
    x = 100 + 7 * torch.randn(64, 3, generator=generator)
    x[:, 2] = 5.0  # never varies
    there = torch.rand(64, generator=generator) < 0.5
    x[~there] = float("nan")
    model = fusion.build("sum", {"x": 3, "never": 2}, dim=4)
    batch = Batch({"x": x, "never": torch.zeros(64, 2)},
                  {"x": there, "never": torch.zeros(64, dtype=torch.bool)})  # fmt: skip
    for reduction in model.reductions():
        reduce(reduction, [batch.rows(torch.arange(0, 20)), batch.rows(torch.arange(20, 64))])
    values, _ = model.inputs(batch.features, batch.present)
    found = values["x"][there].numpy()
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), [1, 1, 0], atol=1e-5)
    assert torch.equal(model.scaling["never"].deviation, torch.ones(2))
    restored = model.scaling["x"].restore(values["x"][there])
    torch.testing.assert_close(restored, x[there], rtol=1e-5, atol=1e-4)
