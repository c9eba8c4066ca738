"""Late fusion against formulas in numpy, and what its temperatures are for."""

import itertools

import numpy as np
import pytest
import torch

import fusion
from fusion import objectives
from fusion.batch import Batch, MemoryFeed
from fusion.learner import train
from learning.loop import Recipe
from learning.reduce import reduce

DIMS = {"a": 4, "b": 3, "c": 2}
OPERATORS = ["decision-mean", "decision-product"]
PRIOR = torch.tensor([0.5, 0.3, 0.2])


def records(rows, seed=0):
    """Features that are independent given the class."""
    generator = torch.Generator().manual_seed(seed)
    classes = PRIOR.multinomial(rows, replacement=True, generator=generator)
    centres = torch.Generator().manual_seed(9)
    features = {
        name: torch.randn(3, dim, generator=centres)[classes]
        + torch.randn(rows, dim, generator=generator)
        for name, dim in DIMS.items()
    }
    present = {name: torch.ones(rows, dtype=torch.bool) for name in DIMS}
    return Batch(features, present, classes)


def trained(name, batch, valid, **options):
    torch.manual_seed(0)
    model = fusion.build(name, DIMS, classes=3, **options)
    experts = objectives.build("experts", model)
    recipe = Recipe(steps=400, batch=128, evaluate=50, learning_rate=1e-2)
    train(model, experts, MemoryFeed(batch, valid), recipe)
    return model, experts


@pytest.fixture(scope="module", params=OPERATORS)
def fitted(request):
    model, experts = trained(request.param, records(1500), records(800, seed=1), hidden=0)
    return request.param, model, experts


def test_every_pattern_is_the_formula(fitted):
    name, model, _ = fitted
    batch = records(6, seed=2)
    with torch.no_grad():
        values, _ = model.inputs(batch.features, batch.present)
        own = {n: model.experts[n](values[n]).double().exp().numpy() for n in DIMS}
    prior = model.log_prior.double().exp().numpy()
    for shown in itertools.product([True, False], repeat=3):
        pattern = dict(zip(DIMS, shown, strict=True))
        present = {n: torch.full((6,), there) for n, there in pattern.items()}
        chosen = [own[n] for n in DIMS if pattern[n]]
        if not chosen:
            expected = np.tile(prior, (6, 1))
        elif name == "decision-mean":
            expected = np.mean(chosen, axis=0)
        else:
            expected = np.prod(chosen, axis=0) / prior ** (len(chosen) - 1)
        if len(chosen) > 1:
            expected = expected ** (1 / float(model.temperature))
        expected = expected / expected.sum(axis=1, keepdims=True)
        with torch.no_grad():
            output = model(batch.features, present)
        np.testing.assert_allclose(output.vector.exp(), expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(output.weights[0], np.array(shown) / max(sum(shown), 1))


def test_it_is_calibrated_and_beats_every_single_feature(fitted):
    name, model, experts = fitted
    test = records(2000, seed=3)
    with torch.no_grad():
        found = experts.predict(model, test.features, test.present)
        alone = [
            experts.predict(
                model, test.features, {n: m & (n == chosen) for n, m in test.present.items()}
            )
            for chosen in DIMS
        ]
    accuracy = [float((p.values == test.targets).float().mean()) for p in (found, *alone)]
    assert accuracy[0] > max(accuracy[1:]) + 0.03
    for prediction in (found, *alone):
        confidence = prediction.probabilities.amax(dim=1)
        right = (prediction.values == test.targets).float()
        assert abs(float(confidence.mean() - right.mean())) < 0.04
    if name == "decision-product":
        assert 0.8 < float(model.temperature) < 1.25  # independent given the class: Bayes' rule


def test_experts_that_know_the_same_are_softened():
    batch, valid = (records(n, seed=s) for n, s in ((1000, 0), (800, 1)))
    dims = {"a": 4, "again": 4}

    def twice(b):
        return Batch(
            {n: b.features["a"] for n in dims}, {n: b.present["a"] for n in dims}, b.targets
        )

    torch.manual_seed(0)
    model = fusion.build("decision-product", dims, classes=3, hidden=0)
    experts = objectives.build("experts", model)
    recipe = Recipe(steps=300, batch=128, evaluate=50, learning_rate=1e-2)
    train(model, experts, MemoryFeed(twice(batch), twice(valid)), recipe)
    assert 1.6 < float(model.temperature) < 2.4  # each said the same thing twice


@pytest.mark.parametrize("name", OPERATORS)
def test_the_prior_is_counted_in_one_pass(name):
    batch = records(100)
    batch.targets[:40] = -1
    model = fusion.build(name, DIMS, classes=3)
    for reduction in model.reductions():
        reduce(reduction, [batch.rows(torch.arange(30)), batch.rows(torch.arange(30, 100))])
    counts = np.bincount(batch.targets[40:], minlength=3) + 1
    np.testing.assert_allclose(model.log_prior.exp(), counts / counts.sum(), rtol=1e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_unlabelled_and_absent_rows_teach_nothing(name):
    batch = records(12)
    torch.manual_seed(0)
    model = fusion.build(name, DIMS, classes=3)
    experts = objectives.build("experts", model)
    present = {n: torch.arange(12) % 2 == i % 2 for i, n in enumerate(DIMS)}
    targets = torch.where(torch.arange(12) < 6, batch.targets, -1)
    losses = experts.losses(model, batch.features, present, targets)
    for name_, loss in losses.items():
        rows = present[name_] & (targets >= 0)
        alone = {n: x[rows] for n, x in batch.features.items()}
        shown = {n: m[rows] for n, m in present.items()}
        assert torch.allclose(loss, experts.losses(model, alone, shown, targets[rows])[name_])
    nobody = experts.losses(model, batch.features, present, torch.full((12,), -1))
    assert all(loss == 0 for loss in nobody.values())


def test_experts_are_for_late_fusion():
    with pytest.raises(ValueError, match="train it with classify"):
        objectives.build("experts", fusion.build("sum", DIMS))
