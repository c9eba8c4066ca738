"""The contract of an objective: a fusion, a batch and its presence in, named losses out."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from fusion.base import Fusion
from fusion.batch import Batch
from fusion.objectives.dropout import drop
from learning.reduce import Reduction


class Objective(nn.Module):
    """What a fusion is trained for. In training mode it sees each record with features left out.

    Args:
        dropout: the probability that a present feature is hidden from the fusion during training;
            at least one of a record stays. This is what lets one checkpoint serve every pattern.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: expected 0 <= rate < 1, got {dropout}")
        self.dropout = dropout

    def visible(self, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The presence the fusion is shown: the given one, thinned out while training."""
        return drop(present, self.dropout) if self.training and self.dropout else dict(present)

    def losses(
        self,
        fusion: Fusion,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Named scalars, finite for every presence pattern; their sum is minimised.

        The same in evaluation mode for the same batch. A batch without a usable row gives zero.
        """
        raise NotImplementedError

    def reductions(self, fusion: Fusion) -> list[Reduction]:
        """What one pass each over the training part settles before training, the fusion's own first."""
        return []

    def closing(self, fusion: Fusion) -> list[Reduction]:
        """What one pass each over the training part settles after training."""
        return []

    def calibrate(self, fusion: Fusion, batches: Iterable[Batch]) -> None:
        """Settle on the validation part, after training, what training must not (temperatures)."""
