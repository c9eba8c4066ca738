"""The gate of a GMU finds out which feature is informative (Arevalo et al., 2017, synthetic task).

Two classes. In each record one of two features, chosen by a coin M, is drawn by class; the other one
is noise: it lies elsewhere, and is as wide as the classes are apart, so that letting it through hurts.
Where the classes and the noise lie differs by seed.
"""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.func import functional_call, stack_module_state

import fusion
from fusion.batch import Batch
from learning.reduce import reduce

SEEDS = 50
DIM = 4  # of both features
TRAIN, TEST = 200, 1_000  # records of each class
TOLERANCE = 0.005  # a record in 200 may fall on the other side by chance
NAMES = ("seen", "told")


def task(seed, count):
    """values {name: (N, 4)}, classes (N,), coin (N,): 1 where `seen` is the informative feature."""
    place = np.random.default_rng(seed)  # the task itself: the same for both parts
    draw = np.random.default_rng([seed, count])
    classes = np.repeat([0, 1], count)
    coin = draw.integers(0, 2, 2 * count)
    values = {}
    for m, name in enumerate(NAMES):
        signal, elsewhere = np.linalg.qr(place.standard_normal((DIM, DIM)))[0][:2]
        informative = np.outer(2 * classes - 1, signal) + 0.3 * draw.standard_normal(
            (2 * count, DIM)
        )
        noise = 3 * elsewhere + draw.standard_normal((2 * count, DIM))
        own = np.where((coin == 1 - m)[:, None], informative, noise)
        values[name] = torch.tensor(own, dtype=torch.float32)
    return values, classes, coin


def stacked(parts):
    return {name: torch.stack([values[name] for values, _, _ in parts]) for name in NAMES}


class Classifier(nn.Module):
    """A GMU of one unit, the paper's, and a linear classifier over it."""

    def __init__(self, seed, values):
        super().__init__()
        torch.manual_seed(seed)
        self.fusion = fusion.build("gmu", {name: DIM for name in NAMES}, dim=1)
        self.head = nn.Linear(1, 1)
        present = {name: torch.ones(len(values[name]), dtype=torch.bool) for name in NAMES}
        for reduction in self.fusion.reductions():
            reduce(reduction, [Batch(values, present)])

    def forward(self, values):
        present = {name: torch.ones(values[name].shape[:1], dtype=torch.bool) for name in NAMES}
        out = self.fusion(values, present)
        return self.head(out.vector)[:, 0], out.weights[:, 0]


@pytest.fixture(scope="module")
def outcome():
    """(accuracy, correlation of gate and coin) of the GMU, accuracy of logistic regression: (50,) each.

    The 50 models are trained as one: the same module under vmap over stacked weights.
    """
    train = [task(seed, TRAIN) for seed in range(SEEDS)]
    test = [task(seed, TEST) for seed in range(SEEDS)]
    models = [Classifier(seed, train[seed][0]) for seed in range(SEEDS)]
    parameters, buffers = stack_module_state(models)

    def run(own, fixed, values):
        return functional_call(models[0], (own, fixed), (values,))

    every = torch.vmap(run)
    inputs, wanted = stacked(train), torch.tensor(np.stack([part[1] for part in train])).float()
    optimiser = torch.optim.Adam(parameters.values(), lr=0.02)
    for _ in range(600):
        logits, _ = every(parameters, buffers, inputs)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        optimiser.zero_grad()
        loss.mean(dim=1).sum().backward()
        optimiser.step()
    with torch.no_grad():
        logits, gates = (found.numpy() for found in every(parameters, buffers, stacked(test)))
    accuracy, correlation, linear = [], [], []
    for seed in range(SEEDS):
        values, classes, coin = test[seed]
        accuracy.append(((logits[seed] > 0) == classes).mean())
        correlation.append(np.corrcoef(gates[seed], coin)[0, 1])
        regression = LogisticRegression().fit(table(train[seed][0]), train[seed][1])
        linear.append(regression.score(table(values), classes))
    return np.array(accuracy), np.array(correlation), np.array(linear)


def table(values):
    return torch.cat([values[name] for name in NAMES], dim=1).numpy()


def test_the_gate_is_the_coin(outcome):
    _, correlation, _ = outcome
    assert np.median(correlation) > 0.98
    # Training a single unit ends in a local optimum for a seed or two: 97 % right, another gate.
    assert (correlation > 0.95).sum() >= 0.9 * SEEDS


def test_not_worse_than_logistic_regression_and_often_better(outcome):
    accuracy, _, linear = outcome
    assert (accuracy >= linear - TOLERANCE).all()
    assert (accuracy > linear + 0.05).sum() >= SEEDS // 4
