"""Multimodal low-rank bilinear pooling: an elementwise product of squashed projections, projected."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fusion.base import FusionOutput, Learned
from fusion.factors import factors, neutral, product
from fusion.options import counted

GAIN = 5 / 3  # tanh shrinks values of unit scale to about 3/5; without it a product would fade


class MLB(Learned):
    """h = P prod_m z_m + c,  z_m = 5/3 tanh(W_m x_m + b_m).

    Any number of features: one factor each, in one product. Absent: z_m = 1, the product goes on
    without it. All absent: P 1 + c, the empty product. Kim, On, Lim, Kim, Ha and Zhang, Hadamard
    Product for Low-rank Bilinear Pooling, ICLR 2017; the gain keeps unit scale for many features.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. hidden: length of the product, the rank."""

        dim: int = 128
        hidden: int = 256

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or MLB.Options()
        super().__init__(dims, options.dim, options)
        self.factors = factors(dims, options.hidden)
        self.output = nn.Linear(options.hidden, options.dim)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        squashed = {name: GAIN * z.tanh() for name, z in self.factors(values).items()}
        return FusionOutput(self.output(product(neutral(squashed, present).values())))
