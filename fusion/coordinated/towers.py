"""A tower per feature: the model of every coordinated space that is trained by gradient."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fusion.coordinated.base import Coordinated
from fusion.options import counted
from fusion.per_feature import PerFeature


class Towers(Coordinated):
    """f_m = a perceptron (`layers` = 0: a linear map) per feature into the common space; see the base.

    Any number of features: one tower each. What brings the towers together is the objective they are
    trained for: infonce, siglip, dcca, dgcca, barlow-twins, vicreg. A_m is the identity, until an
    objective that leaves offset, scale and rotation of the views open settles them after training
    (Andrew et al., Deep CCA, 2013: a linear CCA of the trained networks' outputs).
    All absent: the zero vector.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the views. hidden, layers: width and number of hidden layers; 0 layers:
        linear. dropout: share of hidden units left out in training."""

        dim: int = 128
        hidden: int = 512
        layers: int = 1
        dropout: float = 0.0

        def __post_init__(self) -> None:
            counted(self, or_none=["layers"])
            if not 0 <= self.dropout < 1:
                raise ValueError(f"dropout: expected 0 <= rate < 1, got {self.dropout}")

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or type(self).Options()
        super().__init__(dims, options.dim, options, dict.fromkeys(dims, options.dim))
        self.towers = PerFeature({n: _tower(size, options) for n, size in self.dims.items()})

    def project(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{name: (B, D_m)} -> {name: (B, D)}."""
        return self.towers(values)


class ShortTowers(Towers):
    """Towers for the losses of correlation, whose statistics are the batch's: shorter views by default.

    Any number of features, one tower each. By chance alone the squared correlations of n records
    come to about dim / n: with a batch of 256, an eighth at 32 dimensions but half at 128.
    All absent: the zero vector.
    """

    @dataclass(frozen=True)
    class Options(Towers.Options):
        """dim: length of the views; several times shorter than a batch. hidden, layers: width and
        number of hidden layers; 0 layers: linear. dropout: share of hidden units left out in
        training."""

        dim: int = 32


def _tower(size: int, options: Towers.Options) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(options.layers):
        layers += [nn.Linear(size, options.hidden), nn.ReLU(), nn.Dropout(options.dropout)]
        size = options.hidden
    # No offset at the end: the objectives of correlations could not learn it.
    return nn.Sequential(*layers, nn.Linear(size, options.dim, bias=False))
