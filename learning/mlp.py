"""Fully connected networks: the encoders and decoders of everything learned on stored vectors."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def activation(name: str) -> nn.Module:
    """The activation of this name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class MLP(nn.Module):
    """Linear layers with an activation between two of them, none after the last.

    Args:
        dim: length of the input.
        hidden: widths of the layers between; none gives a single linear map.
        out: length of the output.
        between: the name of the activation, see `ACTIVATIONS`.
    """

    def __init__(self, dim: int, hidden: Sequence[int], out: int, *, between: str = "gelu") -> None:
        super().__init__()
        widths = [dim, *hidden, out]
        if min(widths) < 1:
            raise ValueError(f"expected layers of at least 1 unit, got {widths}")
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.between = activation(between)

    def forward(self, values: Tensor) -> Tensor:
        """(..., dim) -> (..., out)."""
        *earlier, last = self.layers
        for layer in earlier:
            values = self.between(layer(values))
        return last(values)
