"""What the heads share: standardised fused vectors, a small network, one pass for all statistics."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fusion.base import Fusion
from fusion.batch import Batch
from fusion.objectives.prediction import Predictor
from fusion.presence import anything
from fusion.scaling import Standardise
from learning import moments
from learning.calibration import collect
from learning.mlp import MLP
from learning.reduce import Reduction, State


class Head(Predictor):
    """network((vector - mean) / deviation) -> (B, K); a record without any feature gets `nothing`.

    Fused vectors may be tiny (the unit blocks of `concat` have coordinates around 0.03) or large. The
    deviation is one number for all coordinates: it only brings vectors to the size a learning rate
    expects, whereas one per coordinate would make those that hardly vary, mostly noise, count as
    much as any (on YAMNet vectors of ESC-10 that costs two points of accuracy). Both are those of
    the vectors before training.

    Args:
        outputs: K, the classes, labels or numbers predicted.
        hidden: widths of hidden layers; none: a linear head.
    """

    nothing: Tensor

    def __init__(
        self, fusion: Fusion, outputs: int, *, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__(dropout)
        self.scaling = Standardise(fusion.dim)
        self.network = MLP(fusion.dim, hidden, outputs)
        self.register_buffer("nothing", torch.zeros(outputs))

    def raw(
        self, fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        """What the network says: logits, or standardised numbers. (B, K)"""
        vector = fusion(features, present).vector
        return torch.where(
            anything(present)[:, None], self.network(self.scaling(vector)), self.nothing
        )

    def reductions(self, fusion: Fusion) -> list[Reduction]:
        """Mean and deviation of the fused vectors and of the targets."""
        return [HeadReduction(self, fusion)]

    def columns(self, targets: Tensor) -> Tensor:
        """The targets as (B, K) numbers, NaN where unknown."""
        raise NotImplementedError

    def settle(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Use the statistics of the known targets. All (K,)."""
        raise NotImplementedError

    def outcomes(self, fusion: Fusion, batches: Iterable[Batch]) -> list[Tensor] | None:
        """Raw outputs (N, K) and targets (N, ...) of the records that have a feature and a target."""

        def rows(batch: Batch) -> tuple[Tensor, Tensor]:
            targets = expected(batch.targets)
            known = ~self.columns(targets).isnan().all(dim=1)
            usable = batch.rows(known & anything(batch.present))
            return self.raw(fusion, usable.features, usable.present), expected(usable.targets)

        return collect(rows(batch) for batch in batches)


class HeadReduction:
    """One pass over the training part: the moments of the fused vectors and of the targets."""

    def __init__(self, head: Head, fusion: Fusion) -> None:
        self.head = head
        self.fusion = fusion

    def empty(self) -> State:
        """No rows."""
        return _flat(moments.empty(self.fusion.dim), moments.empty(len(self.head.nothing)))

    def update(self, state: State, batch: Batch) -> State:
        """Add one batch; records without any feature have no vector that counts."""
        self.fusion.eval()
        with torch.no_grad():
            vectors = self.fusion(batch.features, batch.present).vector
        targets = self.head.columns(expected(batch.targets))
        own = _flat(
            moments.of_rows(vectors[anything(batch.present)]), moments.of_known_rows(targets)
        )
        return self.merge(state, own)

    def merge(self, one: State, other: State) -> State:
        """The rows of both."""
        first, second = _parts(one), _parts(other)
        return _flat(*(moments.merge(a, b) for a, b in zip(first, second, strict=True)))

    def finish(self, state: State) -> None:
        """Install; without any row everything stays as it is."""
        vector, target = _parts(state)
        if vector["count"] > 0:
            variance = (vector["scatter"] / vector["count"]).mean()
            self.head.scaling.adopt(vector["mean"], variance.expand(self.fusion.dim))
        count = target["count"].expand(len(self.head.nothing))
        self.head.settle(count, target["mean"], target["scatter"] / count.clamp_min(1))


def expected(targets: Tensor | None) -> Tensor:
    """The targets of a batch.

    Raises:
        ValueError: there are none.
    """
    if targets is None:
        raise ValueError("this objective needs labels: name the column that holds them")
    return targets


def _flat(vector: State, target: State) -> State:
    return {f"vector/{k}": v for k, v in vector.items()} | {
        f"target/{k}": v for k, v in target.items()
    }


def _parts(state: State) -> tuple[State, State]:
    vector, target = (
        {key: state[f"{part}/{key}"] for key in ("count", "mean", "scatter")}
        for part in ("vector", "target")
    )
    return vector, target
