"""The one training loop: fusions, autoencoders, coordinated spaces and heads all run through it.

A `Learner` says what is minimised, a `Feed` gives the batches, a `Recipe` says how long and how
fast. Every step draws its randomness from (seed, step, worker) alone, so that a run that was killed
and goes on ends with the weights of an undisturbed one.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from learning import parallel
from learning.checkpoint import (
    Checkpoint,
    clone_state,
    optimiser_tensors,
    restore_optimiser,
    with_prefix,
    without_prefix,
)


class Learner(Protocol):
    """What is trained, and for what."""

    @property
    def module(self) -> nn.Module:
        """Everything that has weights, decoders and heads included."""

    def phases(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """The parameters each phase of a step updates: one phase, or several for adversarial ones."""

    def losses(self, batch: Any, phase: str) -> dict[str, Tensor]:
        """Named scalars whose sum is minimised; deterministic when the module is in eval mode."""


class Feed(Protocol):
    """Batches of one worker. All workers get the same number of them."""

    def training(self, epoch: int, rows: int, skip: int = 0) -> Iterator[Any]:
        """The training rows in the order of this epoch, in batches of `rows`; never empty.

        skip: batches of the epoch to leave out at its beginning, where a run goes on.
        """

    def once(self, rows: int) -> Iterator[Any]:
        """Every training row once, for statistics; the workers' shares together are all of them."""

    def validation(self, rows: int) -> Iterator[Any]:
        """The validation rows; nothing where there are none."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    steps: updates at most. batch: rows of an update, over all workers. learning_rate: the peak,
    lowered to zero along a cosine. weight_decay: of AdamW. warmup: steps that it takes to reach the
    peak. clip: longest gradient. evaluate: steps between two looks at the validation part.
    patience: looks without a better validation loss before training stops. seed: of initial
    weights, dropout and order.
    """

    steps: int = 3000
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    clip: float = 1.0
    evaluate: int = 200
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate", "clip", "evaluate", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a number > 0, got {getattr(self, name)}")
        for name in ("weight_decay", "warmup"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected a number >= 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class Point:
    """One look at a run. train: mean loss of the steps since the last look; valid: None without rows."""

    step: int
    train: float
    valid: float | None


@dataclass
class History:
    """How a run went; best: the step whose weights were kept."""

    points: list[Point] = field(default_factory=list)
    best: int = 0
    stopped_early: bool = False


def fit(
    learner: Learner,
    feed: Feed,
    recipe: Recipe,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[Point], None] = lambda point: None,
    device: torch.device | str = "cpu",
) -> History:
    """Train until the steps are done or the validation loss no longer falls; keep the best weights.

    With a checkpoint the run goes on where the file says. The state of the caller's random
    generators is left as it was. Raises FloatingPointError when a loss is not finite.
    """
    with torch.random.fork_rng():
        return _Run(learner, feed, recipe, checkpoint, report, device).train()


class _Run:
    def __init__(
        self,
        learner: Learner,
        feed: Feed,
        recipe: Recipe,
        checkpoint: Checkpoint | None,
        report: Callable[[Point], None],
        device: torch.device | str,
    ) -> None:
        self.learner = learner
        self.feed = feed
        self.recipe = recipe
        self.checkpoint = checkpoint
        self.report = report
        self.device = device
        learner.module.to(device)
        parallel.broadcast(learner.module)
        self.parameters = {name: list(own) for name, own in learner.phases().items()}
        self.optimisers = {
            name: AdamW(own, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
            for name, own in self.parameters.items()
            if own
        }
        self.history = History()
        self.best_loss = math.inf
        self.best_weights = clone_state(learner.module)
        self.step = self.epoch = self.used = 0  # used: batches of this epoch already taken
        self.since: list[float] = []  # training losses since the last look
        self.waited = 0  # looks without a better validation loss

    def train(self) -> History:
        self._resume()
        self.learner.module.train()
        while self.optimisers and not self._done():
            for batch in self.feed.training(self.epoch, self.recipe.batch, self.used):
                self._update(batch.to(self.device))
                self.step, self.used = self.step + 1, self.used + 1
                if self.step % self.recipe.evaluate == 0 or self.step == self.recipe.steps:
                    self._look()
                if self._done():
                    break
            else:
                self.epoch, self.used = self.epoch + 1, 0
        self.learner.module.load_state_dict(self.best_weights)
        self.learner.module.eval()
        return self.history

    def _done(self) -> bool:
        return self.step >= self.recipe.steps or self.history.stopped_early

    def _update(self, batch: Any) -> None:
        torch.manual_seed(_mix(self.recipe.seed, self.step, parallel.rank()))
        total = 0.0
        for phase, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self._rate()
            loss = torch.stack(list(self.learner.losses(batch, phase).values())).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            parallel.average_gradients(self.parameters[phase])
            nn.utils.clip_grad_norm_(self.parameters[phase], self.recipe.clip)
            optimiser.step()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise FloatingPointError(
                f"the loss is {total} at step {self.step}: try a smaller learning_rate "
                f"(now {self.recipe.learning_rate:g})"
            )
        self.since.append(total)

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / max(self.recipe.warmup, 1))
        return (
            self.recipe.learning_rate
            * warm
            * 0.5
            * (1 + math.cos(math.pi * self.step / self.recipe.steps))
        )

    def _look(self) -> None:
        """Measure, remember the best weights, write the checkpoint."""
        train = float(parallel.average(torch.tensor(self.since, dtype=torch.float64).mean()))
        self.since.clear()
        valid = self._validate()
        point = Point(self.step, train, valid)
        self.history.points.append(point)
        if valid is None or valid < self.best_loss:
            self.best_loss = math.inf if valid is None else valid
            self.best_weights, self.history.best = clone_state(self.learner.module), self.step
            self.waited = 0
        else:
            self.waited += 1
            self.history.stopped_early = self.waited >= self.recipe.patience
        self._save()
        self.report(point)

    def _validate(self) -> float | None:
        """The mean loss of the validation rows of all workers; None where there are none."""
        self.learner.module.eval()
        sums = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad():
            for batch in self.feed.validation(self.recipe.batch):
                batch = batch.to(self.device)
                losses = [self.learner.losses(batch, phase) for phase in self.optimisers]
                loss = sum(float(value) for own in losses for value in own.values())
                sums += torch.tensor([loss * len(batch), len(batch)], dtype=torch.float64)
        self.learner.module.train()
        total, rows = parallel.average(sums).tolist()
        return total / rows if rows else None

    def _save(self) -> None:
        if self.checkpoint is None or parallel.rank() != 0:
            return
        tensors = with_prefix("weights", clone_state(self.learner.module))
        tensors |= with_prefix("best", self.best_weights)
        for phase, optimiser in self.optimisers.items():
            tensors |= with_prefix(f"optimiser.{phase}", optimiser_tensors(optimiser))
        points = [[p.step, p.train, p.valid] for p in self.history.points]
        self.checkpoint.save(
            tensors,
            {
                "step": self.step,
                "epoch": self.epoch,
                "used": self.used,
                "waited": self.waited,
                "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
                "best": self.history.best,
                "stopped_early": self.history.stopped_early,
                "points": points,
            },
        )

    def _resume(self) -> None:
        found = self.checkpoint.load() if self.checkpoint else None
        if found is None:
            return
        tensors, state = found
        self.learner.module.load_state_dict(without_prefix("weights", tensors))
        self.best_weights = without_prefix("best", tensors)
        for phase, optimiser in self.optimisers.items():
            restore_optimiser(optimiser, without_prefix(f"optimiser.{phase}", tensors))
        self.step, self.epoch, self.used = state["step"], state["epoch"], state["used"]
        self.waited = state["waited"]
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        self.history = History(
            [Point(*values) for values in state["points"]], state["best"], state["stopped_early"]
        )


def _mix(*numbers: int) -> int:
    """One seed from several numbers, different for different ones (splitmix64)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & (2**64 - 1)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        state ^= state >> 31
    return state >> 1
