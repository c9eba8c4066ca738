"""Cross-entropy of a linear classifier on the code: the label term of a supervised autoencoder."""

from torch import Tensor, nn
from torch.nn import functional


class LabelTerm(nn.Module):
    """weight * mean over labelled records of -log p(y | vector). Le, Patterson and White, NeurIPS 2018.

    Args:
        dim: length of the vector.
        classes: number of classes.
        weight: lambda, how much a label counts beside the reconstruction.

    Raises:
        ValueError: fewer than two classes.
    """

    def __init__(self, dim: int, classes: int, weight: float) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes: expected at least 2 for the label term, got {classes}")
        self.weight = weight
        self.classifier = nn.Linear(dim, classes)

    def forward(self, vector: Tensor, targets: Tensor | None) -> Tensor:
        """vector: (B, dim); targets: (B,) class numbers, -1 where unlabelled -> scalar, 0 without labels."""
        if targets is None:
            raise ValueError("the label term needs a label column; set label: 0 to train without")
        if targets.is_floating_point() or targets.dim() != 1:
            raise ValueError(
                "the label term needs one class per record, got numbers or several labels"
            )
        logits = self.classifier(vector)
        total = functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
        return self.weight * total / (targets >= 0).sum().clamp_min(1)
