"""Training of `decision-mean` and `decision-product`: each classifier alone, then the temperatures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from fusion.base import Fusion
from fusion.batch import Batch
from fusion.decision import Decision
from fusion.objectives.head import expected
from fusion.objectives.prediction import Prediction, Predictor
from fusion.presence import stacked
from learning.calibration import collect, temperature


class Experts(Predictor):
    """loss = sum over features of the cross entropy of that feature's classifier on its labelled rows.

    No classifier sees another one's feature, so that nothing has to be hidden in training.
    """

    @dataclass(frozen=True)
    class Options:
        """None: the classes are an option of the operator."""

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        super().__init__()
        _decision(fusion)

    def losses(
        self,
        fusion: Fusion,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{feature: scalar}; targets (B,) class numbers, -1 where unknown."""
        model, wanted = _decision(fusion), expected(targets).long()
        values, there = model.inputs(features, present)
        losses = {}
        for name, opinion in model.experts(values).items():
            usable = there[name] & (wanted >= 0)
            each = nll_loss(opinion, wanted, ignore_index=-1, reduction="none")
            losses[name] = torch.where(usable, each, 0).sum() / usable.sum().clamp_min(1)
        return losses

    def calibrate(self, fusion: Fusion, batches: Iterable[Batch]) -> None:
        """Fit the temperature of every expert, then that of their combination."""
        model = _decision(fusion)
        found = collect(_opinions(model, batch) for batch in batches)
        if found is None:
            return
        opinions, there, wanted = found  # (N, M, K), (N, M), (N,)
        for i, name in enumerate(model.experts):
            own = there[:, i]
            # Opinions were scaled by the temperature so far: log softmax keeps the logits' ratios.
            relative = temperature(opinions[own, i], wanted[own])
            model.experts[name].temperature.mul_(relative)
            opinions[:, i] = (opinions[:, i] / relative).log_softmax(dim=1)
        several = there.sum(dim=1) > 1
        device = model.log_prior.device
        joint = model.combine(opinions[several].to(device), there[several].to(device))
        model.temperature.copy_(temperature(joint, wanted[several]))

    def predict(
        self, fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Prediction:
        """values (B,): the likeliest class; probabilities (B, K): the fused vector itself."""
        probabilities = fusion(features, present).vector.exp()
        return Prediction(probabilities.argmax(dim=1), probabilities)


def _opinions(model: Decision, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    labelled = batch.rows(expected(batch.targets) >= 0)
    values, there = model.inputs(labelled.features, labelled.present)
    return stacked(model.experts(values)), stacked(there), expected(labelled.targets).long()


def _decision(fusion: Fusion) -> Decision:
    if not isinstance(fusion, Decision):
        raise ValueError(
            f"objective experts: expected decision-mean or decision-product, "
            f"got {type(fusion).__name__}; train it with classify"
        )
    return fusion
