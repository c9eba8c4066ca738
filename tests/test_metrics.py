"""Every number is scikit-learn's; intervals cover what they claim."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from learning import metrics


def sure(rows, classes, seed=0):
    """Probabilities with ties and a class that is never predicted, and targets."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, classes, (rows,), generator=generator)
    logits = torch.randn(rows, classes, generator=generator)
    logits[torch.arange(rows), targets] += 1.0
    logits[:, -1] -= 20
    return logits.double().softmax(dim=1), targets


@pytest.mark.parametrize(("rows", "classes"), [(400, 3), (300, 12), (1, 2)])
def test_classification(rows, classes):
    probabilities, targets = sure(rows, classes)
    found = metrics.classification(probabilities, targets, draws=20)
    y, p = targets.numpy(), probabilities.numpy()
    guess = p.argmax(axis=1)
    names = list(range(classes))
    expected = {
        "accuracy": reference.accuracy_score(y, guess),
        "balanced accuracy": np.mean([(guess[y == k] == k).mean() for k in np.unique(y)]),
        "macro F1": reference.f1_score(y, guess, average="macro", zero_division=0),
        "log loss": reference.log_loss(y, p, labels=names),
    }
    if rows > 1:
        assert expected["balanced accuracy"] == pytest.approx(
            reference.balanced_accuracy_score(y, guess)
        )
    if classes > 5:
        expected["top-5 accuracy"] = reference.top_k_accuracy_score(y, p, k=5, labels=names)
    assert found.keys() == {*expected, "calibration error"}
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-9), name
        assert found[name].low <= found[name].value + 0.1
        assert found[name].low <= found[name].high


def test_calibration_error_and_reliability_by_hand():
    confidence = torch.tensor([0.9, 0.9, 0.9, 0.6, 0.6], dtype=torch.float64)
    probabilities = torch.stack([confidence, 1 - confidence], dim=1)
    targets = torch.tensor([0, 0, 1, 0, 1])
    error = metrics.classification(probabilities, targets)["calibration error"].value
    assert error == pytest.approx((3 * abs(0.9 - 2 / 3) + 2 * abs(0.6 - 0.5)) / 5)
    unsure, certain = metrics.reliability(confidence, targets == 0)
    assert (unsure.confidence, unsure.accuracy, unsure.rows) == pytest.approx((0.6, 0.5, 2))
    assert (certain.confidence, certain.accuracy, certain.rows) == pytest.approx((0.9, 2 / 3, 3))


def test_regression():
    generator = torch.Generator().manual_seed(1)
    targets = torch.randn(200, 3, generator=generator) * torch.tensor([1.0, 50.0, 0.01]) + 1000
    values = targets + torch.randn(200, 3, generator=generator) * torch.tensor([0.5, 10.0, 0.02])
    found = metrics.regression(values, targets, draws=50)
    y, v = targets.double().numpy(), values.double().numpy()
    assert found["R2"].value == pytest.approx(reference.r2_score(y, v), abs=1e-5)
    assert found["MAE"].value == pytest.approx(reference.mean_absolute_error(y, v))
    assert found["RMSE"].value == pytest.approx(math.sqrt(reference.mean_squared_error(y, v)))


def test_unknown_numbers_count_nowhere():
    targets = torch.tensor([[1.0, 5.0], [2.0, math.nan], [4.0, 7.0], [math.nan, 9.0]])
    values = torch.tensor([[1.5, 5.0], [2.0, 99.0], [4.0, 8.0], [99.0, 9.0]])
    found = metrics.regression(values, targets, draws=50)
    first = reference.r2_score([1, 2, 4], [1.5, 2, 4])
    second = reference.r2_score([5, 7, 9], [5, 8, 9])
    assert found["R2"].value == pytest.approx((first + second) / 2)
    assert found["MAE"].value == pytest.approx(1.5 / 6)


def test_multilabel_with_ties():
    generator = torch.Generator().manual_seed(2)
    targets = (torch.rand(300, 4, generator=generator) < 0.3).float()
    noise = torch.rand(300, 4, generator=generator)
    probabilities = ((0.5 * targets + 0.7 * noise).clamp(0, 1) * 20).round() / 20
    found = metrics.multilabel(probabilities, targets, draws=50)
    y, p = targets.numpy(), probabilities.numpy()
    given = p >= 0.5
    assert found["micro F1"].value == pytest.approx(reference.f1_score(y, given, average="micro"))
    assert found["macro F1"].value == pytest.approx(reference.f1_score(y, given, average="macro"))
    assert found["average precision"].value == pytest.approx(
        reference.average_precision_score(y, p)
    )
    assert found["average precision"].low < found["average precision"].value
    targets[:150, 0] = math.nan  # then the rest of that label alone
    hidden = metrics.multilabel(probabilities, targets, draws=2)["average precision"].value
    each = [reference.average_precision_score(y[:, k], p[:, k]) for k in range(1, 4)]
    each.append(reference.average_precision_score(y[150:, 0], p[150:, 0]))
    assert hidden == pytest.approx(np.mean(each))


def test_wilson_against_the_quadratic_it_solves():
    for successes, rows in ((0, 10), (10, 10), (37, 50)):
        found = metrics.wilson(successes, rows)
        for end in (found.low, found.high):
            if 1e-9 < end < 1 - 1e-9:
                z = (successes / rows - end) / math.sqrt(end * (1 - end) / rows)
                assert abs(z) == pytest.approx(1.959964, abs=1e-5)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    truth, covered = math.sqrt(2 / math.pi), 0
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        targets = torch.zeros(60, 1)
        values = torch.randn(60, 1, generator=generator).abs()
        found = metrics.regression(values, targets, draws=300, seed=seed)["MAE"]
        covered += found.low <= truth <= found.high
    assert 176 <= covered <= 198  # 95 % of 200, less a little for so few rows


def test_the_seed_decides_and_chunks_change_nothing_else(monkeypatch):
    probabilities, targets = sure(50, 3)
    once = metrics.classification(probabilities, targets, draws=100, seed=4)
    assert once == metrics.classification(probabilities, targets, draws=100, seed=4)
    assert once != metrics.classification(probabilities, targets, draws=100, seed=5)
    monkeypatch.setattr(metrics, "_CELLS", 500)
    chunked = metrics.classification(probabilities, targets, draws=100, seed=4)
    assert {n: m.value for n, m in chunked.items()} == {n: m.value for n, m in once.items()}


def test_nothing_to_measure_on_is_said():
    with pytest.raises(ValueError, match="at least one labelled row"):
        metrics.classification(torch.zeros(0, 3), torch.zeros(0))
