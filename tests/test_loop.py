"""The training loop: it finds known solutions, stops early, and a killed run ends as an undisturbed one."""

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from fusion.batch import Batch, MemoryFeed
from learning import parallel
from learning.checkpoint import Checkpoint
from learning.loop import Recipe, fit


class Regression:
    """y = Wx + b with dropout on x, so that a step depends on the random generator."""

    def __init__(self, dropout=0.0, seed=0):
        torch.manual_seed(seed)
        self.module = nn.Sequential(nn.Dropout(dropout), nn.Linear(5, 1))

    def phases(self):
        return {"train": list(self.module.parameters())}

    def losses(self, batch, phase):
        error = self.module(batch.features["x"]) - batch.targets
        return {"squared": error.square().mean()}


def records(rows=200, seed=0, noise=0.1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 5, generator=generator)
    y = x @ torch.arange(1.0, 6.0)[:, None] + 2 + noise * torch.randn(rows, 1, generator=generator)
    return Batch({"x": x}, {"x": torch.ones(rows, dtype=torch.bool)}, y)


RECIPE = Recipe(steps=60, batch=32, learning_rate=0.1, warmup=5, evaluate=10, weight_decay=0)


def weights(learner):
    return torch.cat([p.detach().flatten() for p in learner.module.parameters()])


def test_a_linear_model_ends_at_the_least_squares_solution():
    data, learner = records(), Regression()
    fit(learner, MemoryFeed(data), Recipe(**{**vars(RECIPE), "steps": 600, "batch": 200}))
    x = np.hstack([data.features["x"].numpy(), np.ones((200, 1))])
    expected = np.linalg.lstsq(x, data.targets.numpy(), rcond=None)[0][:, 0]
    np.testing.assert_allclose(weights(learner).numpy(), expected, atol=1e-3)


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", [3, 10, 25, 59])
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path, step):
    def run(checkpoint, dies_at=None):
        learner = Regression(dropout=0.3)
        if dies_at is not None:
            whole, seen = learner.losses, []

            def losses(batch, phase):
                if learner.module.training:
                    seen.append(1)
                    if len(seen) > dies_at:
                        raise Killed
                return whole(batch, phase)

            learner.losses = losses
        feed = MemoryFeed(records(), records(50, seed=1))
        return learner, fit(learner, feed, RECIPE, checkpoint=checkpoint)

    undisturbed, history = run(None)
    checkpoint = Checkpoint(tmp_path / "state.safetensors")
    with pytest.raises(Killed):
        run(checkpoint, dies_at=step)
    resumed, again = run(checkpoint)
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert again == history


def test_a_finished_run_is_not_repeated(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.safetensors")
    feed = MemoryFeed(records(), records(50, seed=1))
    first, second = Regression(), Regression(seed=9)
    fit(first, feed, RECIPE, checkpoint=checkpoint)
    second.losses = None  # would fail if called
    fit(second, feed, RECIPE, checkpoint=checkpoint)
    assert torch.equal(weights(first), weights(second))


def test_the_best_weights_are_kept_and_patience_ends_the_run():
    train = records(8, noise=3.0)  # few and noisy: five weights overfit at once
    valid = records(500, seed=1)
    learner, looks = Regression(), []

    def look(point):
        looks.append((point.step, point.valid, weights(learner).clone()))

    recipe = Recipe(**{**vars(RECIPE), "steps": 4000, "batch": 8, "patience": 3, "evaluate": 5})
    history = fit(learner, MemoryFeed(train, valid), recipe, report=look)
    assert history.stopped_early
    step, _, best = min(looks, key=lambda look: look[1])
    assert (history.best, torch.equal(weights(learner), best)) == (step, True)
    assert history.points[-1].step < 4000
    later = [value for at, value, _ in looks if at > step]
    assert len(later) == 3


def test_without_a_validation_part_the_last_weights_stay():
    learner = Regression()
    history = fit(learner, MemoryFeed(records()), RECIPE)
    assert history.best == 60
    assert [point.valid for point in history.points] == [None] * 6


def test_the_caller_keeps_its_random_numbers():
    learner = Regression(dropout=0.3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(learner, MemoryFeed(records()), RECIPE)
    assert torch.equal(torch.rand(3), expected)


def test_a_loss_that_is_not_finite_says_what_to_try():
    data = records()
    data.targets[0] = float("inf")
    with pytest.raises(FloatingPointError, match="smaller learning_rate"):
        fit(Regression(), MemoryFeed(data), RECIPE)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"learning_rate": -1.0}, {"warmup": -1}])
def test_a_recipe_that_can_not_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)


class Shares:
    """Rank r of two takes every second row of the batches a single worker would take."""

    def __init__(self, data, valid):
        self.whole = MemoryFeed(data, valid)

    def _share(self, batches):
        for batch in batches:
            yield batch.rows(torch.arange(parallel.rank(), len(batch), parallel.world()))

    def training(self, epoch, rows, skip=0):
        return self._share(self.whole.training(epoch, rows, skip))

    def validation(self, rows):
        return self._share(self.whole.validation(rows))


def worker(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    learner = Regression(seed=rank)  # different ones: the loop must start from worker 0's
    history = fit(learner, Shares(records(), records(50, seed=1)), RECIPE)
    torch.save({"weights": weights(learner), "valid": [p.valid for p in history.points]},
               f"{folder}/{rank}.pt")  # fmt: skip
    torch.distributed.destroy_process_group()


def test_two_workers_train_as_one_with_all_rows(tmp_path):
    mp.spawn(worker, args=(str(tmp_path),), nprocs=2)
    zero, one = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(zero["weights"], one["weights"])
    alone = Regression()
    history = fit(alone, MemoryFeed(records(), records(50, seed=1)), RECIPE)
    torch.testing.assert_close(zero["weights"], weights(alone), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(zero["valid"], [p.valid for p in history.points], rtol=1e-4)
