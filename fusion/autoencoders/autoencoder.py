"""Autoencoder with one code shared by all features: the lectures' family, for any subset of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fusion.base import FusionOutput, Learned
from fusion.per_feature import linear
from fusion.presence import stacked, where_present
from learning.mlp import MLP, activation
from learning.penalties import SingleLayer


class Autoencoder(Learned):
    """code = s(MLP(sum_{m in P} (W_m x_m + b_m) + c)), P the present features; all are decoded from it.

    One feature is the plain autoencoder; several share the first layer, as if concatenated with their
    presence: b_m tells the network that m is there. hidden: [] is one layer, s(W x + b), with a
    linear code the subspace of PCA. All absent: the code of c alone, a learned constant.
    Ngiam et al., Multimodal Deep Learning, ICML 2011. Noise, penalties and labels are options of its
    objective, `reconstruct`; topk is the k-sparse code of Makhzani and Frey, ICLR 2014.

    Raises:
        ValueError: an unknown activation, or a topk outside 1..dim.
    """

    extensible = True  # the first layer is a sum over features

    @dataclass(frozen=True)
    class Options:
        """dim: length of the code. hidden: widths of the encoder's layers, e.g. [512, 256]; [] for none.
        activation, code: linear | relu | gelu | tanh | sigmoid, between layers and of the code.
        topk: keep the k units furthest from zero, None: all."""

        dim: int = 128
        hidden: list[int] = field(default_factory=lambda: [256])
        activation: str = "gelu"
        code: str = "linear"
        topk: int | None = None

        def __post_init__(self) -> None:
            activation(self.activation)
            activation(self.code)
            if min([self.dim, *self.hidden]) < 1:
                raise ValueError(
                    f"expected layers of at least 1 unit, got {[*self.hidden, self.dim]}"
                )
            if self.topk is not None and not 1 <= self.topk <= self.dim:
                raise ValueError(f"topk: expected 1 to dim = {self.dim}, got {self.topk}")

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or Autoencoder.Options()
        super().__init__(dims, options.dim, options)
        first, *later = [*options.hidden, options.dim]
        self.first = linear(dims, first)
        self.bias = nn.Parameter(torch.zeros(first))
        self.trunk = (
            MLP(first, later[:-1], options.dim, between=options.activation) if later else None
        )
        self.between = activation(options.activation)
        self.code = activation(options.code)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        projected = where_present(stacked(present), stacked(self.first(values)))
        code = projected.sum(dim=1) + self.bias
        if self.trunk is not None:
            code = self.trunk(self.between(code))
        code = self.code(code)
        return FusionOutput(_largest(code, self.options.topk) if self.options.topk else code)

    def single_layer(self) -> SingleLayer | None:
        """The encoder as one layer over all features side by side, where it is one."""
        if self.trunk is not None or self.options.topk:
            return None
        weight = torch.cat([self.first[name].weight for name in self.first], dim=1)
        return SingleLayer(weight, self.options.code)


def _largest(code: Tensor, count: int) -> Tensor:
    """The `count` units of largest magnitude, zero elsewhere; by magnitude because codes may be negative."""
    kept = code.abs().topk(count, dim=1).indices
    return torch.zeros_like(code).scatter(1, kept, code.gather(1, kept))
