"""A fusion and its objective as the training loop takes them, and the whole of training one."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fusion.base import Fusion
from fusion.batch import Batch
from fusion.objectives.base import Objective
from learning.checkpoint import Checkpoint
from learning.loop import Feed, History, Point, Recipe, fit
from learning.reduce import reduce


class FusionLearner:
    """Trains the fusion and its objective together (`learning.loop.Learner`).

    frozen: leave the fusion as it is and train the objective alone, a head on finished vectors.
    """

    def __init__(self, fusion: Fusion, objective: Objective, *, frozen: bool = False) -> None:
        self.fusion = fusion
        self.objective = objective
        self.frozen = frozen
        self.module: nn.Module = nn.ModuleDict({"fusion": fusion, "objective": objective})

    def phases(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """One phase with all parameters that learn."""
        trained = self.objective if self.frozen else self.module
        return {"train": [p for p in trained.parameters() if p.requires_grad]}

    def losses(self, batch: Batch, phase: str) -> dict[str, Tensor]:
        """The losses of the objective."""
        if self.frozen:
            self.fusion.eval()  # the loop has switched everything to training
        return self.objective.losses(self.fusion, batch.features, batch.present, batch.targets)


def train(
    fusion: Fusion,
    objective: Objective,
    feed: Feed,
    recipe: Recipe,
    *,
    frozen: bool = False,
    checkpoint: Checkpoint | None = None,
    report: Callable[[Point], None] = lambda point: None,
    device: torch.device | str = "cpu",
) -> History:
    """Reductions, the loop, closing, calibration: everything from a built fusion to one that is ready.

    A fusion with a closed form has no parameters, and the loop nothing to do. With a checkpoint
    that already exists the reductions are not repeated: their results are among the weights.
    """
    started = checkpoint is not None and checkpoint.load() is not None
    if not started:
        for reduction in [] if frozen else fusion.reductions():
            reduce(reduction, feed.once(recipe.batch))
        for reduction in objective.reductions(fusion):  # of what the fusion gives from now on
            reduce(reduction, feed.once(recipe.batch))
    learner = FusionLearner(fusion, objective, frozen=frozen)
    history = fit(learner, feed, recipe, checkpoint=checkpoint, report=report, device=device)
    if not frozen:
        for reduction in objective.closing(fusion):
            reduce(reduction, (b.to(device) for b in feed.training(0, recipe.batch)))
    with torch.no_grad():
        objective.calibrate(fusion, (b.to(device) for b in feed.validation(recipe.batch)))
    return history
