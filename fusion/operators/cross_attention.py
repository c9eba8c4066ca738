"""Cross-modal attention: the tokens of every feature ask the tokens of all others."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusion.attention import TransformerLayer
from fusion.base import FusionOutput, Learned
from fusion.options import counted
from fusion.per_feature import PerFeature
from fusion.presence import masked_mean, stacked
from fusion.tokens import Tokens


class CrossAttention(Learned):
    """y_m <- Layer_m(y_m, context = [x_n: n != m]), L times from y_m = x_m;  h = mean_m O_m LN(mean_t y_mt).

    x_m: the tokens of a feature; y_mt: those of its step t after the last layer, side by side; means
    over what is present. Any number of features: one stack each, whose softmax runs over the tokens of
    all others at once: M stacks instead of M (M - 1), and the pairs of the paper for two. Absent: in
    no context and not in the mean; without any other, a feature hears nothing (`fusion.attention`).
    All absent: the zero vector. Takes sequences. Tsai, Bai, Liang, Kolter, Morency and
    Salakhutdinov, Multimodal Transformer for Unaligned Multimodal Language Sequences, ACL 2019, less
    its last self-attention.

    Raises:
        ValueError: a width that heads don't divide.
    """

    takes_sequences = True
    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. width, heads, layers: of the transformers. tokens: per
        vector, or per step of a sequence."""

        dim: int = 128
        width: int = 128
        heads: int = 4
        layers: int = 2
        tokens: int = 1

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or CrossAttention.Options()
        super().__init__(dims, options.dim, options)
        self.tokens = Tokens(dims, options.tokens, options.width)
        self.stacks = PerFeature(
            {
                name: nn.ModuleList(
                    TransformerLayer(options.width, options.heads, attends=len(dims) > 1)
                    for _ in range(options.layers)
                )
                for name in sorted(dims)
            }
        )
        slots = options.tokens * options.width
        self.output = PerFeature(
            {
                name: nn.Sequential(nn.LayerNorm(slots), nn.Linear(slots, options.dim))
                for name in sorted(dims)
            }
        )

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, T, D_name), present[name]: (B, T) -> vector (B, dim)."""
        tokens, allowed = self.tokens(values, present)
        means = {}
        for name, own in tokens.items():
            others = [n for n in tokens if n != name] or [
                name
            ]  # one alone has layers that ask nobody
            context = torch.cat([tokens[n] for n in others], dim=1)
            mask = torch.cat([allowed[n] for n in others], dim=1)
            for layer in self.stacks[name]:
                own = layer(own, context, mask)
            steps = own.unflatten(1, (-1, self.tokens.count)).flatten(2)  # (B, T, N W)
            means[name] = masked_mean(steps, present[name])
        there = stacked({name: mask.any(dim=1) for name, mask in present.items()})  # (B, M)
        return FusionOutput(masked_mean(stacked(self.output(means)), there))
