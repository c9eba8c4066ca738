"""Heads on fused vectors: losses against formulas, labels that are missing, calibration, prediction."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import fusion
from fusion import objectives
from fusion.batch import Batch, MemoryFeed
from fusion.learner import train
from learning import calibration
from learning.loop import Recipe
from learning.reduce import reduce

DIMS = {"image": 5, "text": 3}
SHORT = Recipe(steps=300, batch=64, evaluate=50, learning_rate=1e-2)


def records(rows=600, seed=0, scale=1.0):
    """Features that tell four classes apart, a fifth of them missing; some records have nothing."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.Generator().manual_seed(99)
    classes = torch.randint(0, 4, (rows,), generator=generator)
    features, present = {}, {}
    for name, dim in DIMS.items():
        middle = 1.5 * torch.randn(4, dim, generator=centres)
        noise = torch.randn(rows, dim, generator=generator)
        features[name] = (middle[classes] + noise) * scale
        present[name] = torch.rand(rows, generator=generator) > 0.2
    return Batch(features, present, classes)


def numbers(batch):
    """Two numbers in very different units, the second unknown for every third record."""
    x = torch.where(batch.present["image"][:, None], batch.features["image"], 0)
    targets = torch.stack([x[:, 0] * 1e4 + 5e4, x[:, 1] * 1e-3], dim=1)
    targets[::3, 1] = math.nan
    return Batch(batch.features, batch.present, targets)


def several(batch):
    targets = torch.stack([batch.targets >= k for k in (1, 2, 3)], dim=1).float()
    targets[::4, 0] = math.nan
    return Batch(batch.features, batch.present, targets)


CASES = {
    "classify": ({"classes": 4}, lambda batch: batch),
    "regress": ({"outputs": 2}, numbers),
    "multilabel": ({"classes": 3}, several),
}


def built(name, model="concat", **options):
    torch.manual_seed(0)
    found = fusion.build(model, DIMS)
    return found, objectives.build(name, found, **CASES[name][0], **options)


def fitted(name, batch, model="concat", **options):
    found, head = built(name, model, **options)
    feed = MemoryFeed(batch.rows(torch.arange(400)), batch.rows(torch.arange(400, 500)))
    history = train(found, head, feed, SHORT, frozen=model == "concat")
    return found, head, history


@pytest.mark.parametrize("name", CASES)
def test_what_absent_rows_hold_changes_nothing(name):
    batch = CASES[name][1](records())
    spoilt = {
        n: torch.where(batch.present[n][:, None], x, math.nan) for n, x in batch.features.items()
    }
    model, head = built(name)
    for reduction in head.reductions(model):
        reduce(reduction, [batch])
    head.eval()
    one = head.losses(model, batch.features, batch.present, batch.targets)
    other = head.losses(model, spoilt, batch.present, batch.targets)
    assert one == other
    sum(other.values()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize("name", CASES)
def test_a_batch_without_labels_gives_zero(name):
    batch = CASES[name][1](records(20))
    model, head = built(name)
    unknown = torch.full_like(batch.targets, -1 if name == "classify" else math.nan)
    loss = head.losses(model, batch.features, batch.present, unknown)[name]
    loss.backward()
    assert loss == 0
    assert all(not p.grad.any() for p in head.parameters())
    with pytest.raises(ValueError, match="needs labels"):
        head.losses(model, batch.features, batch.present, None)


@pytest.mark.parametrize("name", CASES)
def test_it_predicts_better_than_chance_and_finite_numbers_for_every_pattern(name):
    batch = CASES[name][1](records(scale=1e-3))  # tiny vectors: standardised before the network
    model, head, history = fitted(name, batch, "gmu", hidden=(16,))
    assert history.points[-1].valid < history.points[0].valid or history.stopped_early
    test = batch.rows(torch.arange(500, 600))
    with torch.no_grad():
        found = head.predict(model, test.features, test.present)
        nothing = {n: torch.zeros(4, dtype=torch.bool) for n in DIMS}
        empty = head.predict(model, {n: torch.zeros(4, d) for n, d in DIMS.items()}, nothing)
        none = head.predict(
            model, *({n: x[:0] for n, x in m.items()} for m in (test.features, test.present))
        )
    assert len(none.values) == 0
    if name == "regress":
        known = batch.targets[:400]
        assert found.probabilities is None
        off = empty.values[0] - known.nanmean(dim=0)  # a batch at the end may be left out
        assert (
            off.abs() < 0.1 * (known - known.nanmean(dim=0)).square().nanmean(dim=0).sqrt()
        ).all()
        left = (found.values - test.targets).square().nanmean(dim=0)
        assert (left < 0.5 * (test.targets - known.nanmean(dim=0)).square().nanmean(dim=0)).all()
    elif name == "classify":
        frequencies = torch.bincount(batch.targets[:400], minlength=4) / 400
        assert torch.allclose(empty.probabilities[0], frequencies, atol=0.01)
        assert (found.values == test.targets).float().mean() > 0.7
        assert torch.allclose(found.probabilities.sum(dim=1), torch.ones(100), atol=1e-5)
    else:
        assert torch.allclose(empty.probabilities[0], batch.targets[:400].nanmean(dim=0), atol=0.01)
        known = ~test.targets.isnan()
        assert ((found.values == (test.targets == 1))[known]).float().mean() > 0.8


@pytest.mark.parametrize("name", CASES)
def test_saved_and_loaded_it_says_the_same(name):
    batch = CASES[name][1](records())
    model, head, _ = fitted(name, batch)
    torch.manual_seed(123)
    again = objectives.build(name, model, **CASES[name][0])
    again.load_state_dict(head.state_dict())
    one, other = (h.eval().predict(model, batch.features, batch.present) for h in (head, again))
    assert torch.equal(one.values, other.values)


def test_class_weights_are_those_of_the_formula():
    batch = records(50)
    model, head = built("classify", class_weights=(1.0, 2.0, 3.0, 4.0))
    head.eval()
    logits = head.raw(model, batch.features, batch.present).detach().double().numpy()
    y = batch.targets.numpy()
    weight = np.array([1.0, 2, 3, 4])[y]
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(weight * log[np.arange(50), y]).sum() / weight.sum()
    loss = head.losses(model, batch.features, batch.present, batch.targets)["classify"].detach()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_make_every_class_count_the_same():
    batch = records(500)
    rare = Batch(batch.features, batch.present, torch.where(batch.targets > 1, 0, batch.targets))
    model, head = built("classify", class_weights="balanced")
    reduce(
        head.reductions(model)[0], [rare.rows(torch.arange(200)), rare.rows(torch.arange(200, 500))]
    )
    counts = torch.bincount(rare.targets, minlength=4)
    assert torch.allclose((head.class_weights * counts)[:2], torch.tensor(125.0))
    assert torch.equal(head.class_weights[2:], torch.ones(2))  # never seen


def test_the_statistics_are_those_of_all_rows_and_do_not_depend_on_the_batches():
    batch = numbers(records(100))
    model, head = built("regress")
    parts = [batch.rows(torch.arange(0, 37)), batch.rows(torch.arange(37, 100))]
    reduce(head.reductions(model)[0], parts)
    there = batch.present["image"] | batch.present["text"]
    vectors = model(batch.features, batch.present).vector[there].double().numpy()
    np.testing.assert_allclose(head.scaling.mean, vectors.mean(axis=0), atol=1e-6)
    deviation = np.sqrt(vectors.var(axis=0).mean())  # one for all coordinates
    np.testing.assert_allclose(head.scaling.deviation, deviation, rtol=1e-4)
    targets = batch.targets.double().numpy()
    np.testing.assert_allclose(head.units.mean, np.nanmean(targets, axis=0), rtol=1e-5)
    np.testing.assert_allclose(head.units.deviation, np.nanstd(targets, axis=0), rtol=1e-4)


def test_a_linear_head_on_frozen_vectors_is_logistic_regression():
    batch = records(1200)
    full = Batch(
        batch.features, {n: torch.ones_like(m) for n, m in batch.present.items()}, batch.targets
    )
    learn, valid, test = (
        full.rows(torch.arange(*span)) for span in ((0, 600), (600, 800), (800, 1200))
    )
    torch.manual_seed(0)
    model = fusion.build("concat", DIMS)
    head = objectives.build("classify", model, classes=4, dropout=0.0)
    train(
        model,
        head,
        MemoryFeed(learn, valid),
        Recipe(steps=600, batch=128, learning_rate=1e-1),
        frozen=True,
    )
    with torch.no_grad():
        found = head.predict(model, test.features, test.present)
        vectors = [model(b.features, b.present).vector.numpy() for b in (learn, test)]
    judge = LogisticRegression(C=100, max_iter=2000).fit(vectors[0], learn.targets)
    ours, theirs = (
        log_loss(test.targets, p, labels=range(4))
        for p in (found.probabilities.double(), judge.predict_proba(vectors[1]))
    )
    accuracy = float((found.values == test.targets).float().mean())
    assert ours < theirs + 0.01
    assert accuracy >= judge.score(vectors[1], test.targets) - 0.015  # 6 of 400 records


def test_temperature_is_the_one_of_a_search():
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(300, 4, generator=generator)
    targets = (logits / 3).softmax(dim=1).multinomial(1, generator=generator)[:, 0]
    x, y = logits.double().numpy(), targets.numpy()

    def loss(log):
        scaled = x / math.exp(log)
        own = scaled[np.arange(300), y] - np.log(np.exp(scaled).sum(axis=1))
        return -own.sum() + log**2 / 2

    best = math.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)
    assert float(calibration.temperature(logits, targets)) == pytest.approx(best, rel=1e-3)
    assert 2.4 < best < 3.6


def test_temperatures_of_labels_are_independent_and_skip_the_unknown():
    generator = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(2000, 2, generator=generator)
    targets = (
        torch.rand(2000, 2, generator=generator) < (logits / torch.tensor([1.0, 2.5])).sigmoid()
    ).float()
    both = calibration.temperatures(logits, targets)
    assert torch.allclose(both, torch.tensor([1.0, 2.5]), rtol=0.15)
    targets[1000:, 0] = math.nan
    first = calibration.temperatures(logits[:1000, :1], targets[:1000, :1])
    assert torch.allclose(
        calibration.temperatures(logits, targets), torch.cat([first, both[1:]]), rtol=1e-2
    )


def test_a_few_rows_that_are_all_right_do_not_make_it_certain():
    few = calibration.temperature(10 * torch.eye(3), torch.arange(3))
    assert 0.1 < float(few) < 1
    assert float(calibration.temperature(torch.zeros(0, 3), torch.zeros(0))) == 1


def test_mistakes_are_said():
    model = fusion.build("concat", DIMS)
    with pytest.raises(ValueError, match="expected 4 numbers > 0, got 2"):
        objectives.build("classify", model, classes=4, class_weights=(1.0, 2.0))
    with pytest.raises(ValueError, match='expected "balanced"'):
        objectives.build("classify", model, classes=4, class_weights="even")
    batch = records(5)
    for name, wrong, message in (
        ("classify", torch.full((5,), 4), "classes 0 to 3"),
        ("multilabel", torch.full((5, 3), 2.0), "0, 1 or NaN"),
        ("multilabel", torch.zeros(5, 2), r"\(B, 3\)"),
        ("regress", torch.zeros(5, 3), r"\(B, 2\)"),
    ):
        _, head = built(name)
        with pytest.raises(ValueError, match=message):
            head.losses(model, batch.features, batch.present, wrong)
