"""Multimodal bottleneck transformer: features exchange what they know through a few shared tokens only."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusion.attention import TransformerLayer
from fusion.base import FusionOutput, Learned
from fusion.options import counted
from fusion.per_feature import ParameterPerFeature, PerFeature
from fusion.presence import masked_mean, stacked
from fusion.tokens import Tokens

SMALL = 0.02  # of tokens that start as nothing in particular, so that what they read outweighs them


class MBT(Learned):
    """[s_m; x_m; z_m] <- Layer_m([s_m; x_m; z]),  z <- mean_m z_m, L times;  h = mean_m O LN(s_m).

    s_m: a summary token per feature; x_m: the tokens of the feature; z: bottleneck tokens shared by
    all; means over the present features. Any number of features: one stack of layers each, at a cost
    linear in their number. Absent: outside both means. All absent: the zero vector. Takes sequences.
    Nagrani, Yang, Arnab, Jansen, Schmid and Sun, Attention Bottlenecks for Multimodal Fusion,
    NeurIPS 2021.

    Raises:
        ValueError: fewer than two layers, or a width that heads don't divide.
    """

    takes_sequences = True
    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. width, heads, layers: of the transformers. tokens: per
        vector, or per step of a sequence. bottleneck: number of shared tokens."""

        dim: int = 128
        width: int = 128
        heads: int = 4
        layers: int = 2
        tokens: int = 1
        bottleneck: int = 4

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or MBT.Options()
        super().__init__(dims, options.dim, options)
        if options.layers < 2:
            raise ValueError(
                f"layers: expected at least 2, one to write the bottleneck and one to read it, "
                f"got {options.layers}"
            )
        width = options.width
        self.tokens = Tokens(dims, options.tokens, width)
        self.summary = ParameterPerFeature({n: SMALL * torch.randn(1, width) for n in sorted(dims)})
        self.bottleneck = nn.Parameter(SMALL * torch.randn(options.bottleneck, width))
        self.stacks = PerFeature(
            {
                name: nn.ModuleList(
                    TransformerLayer(width, options.heads) for _ in range(options.layers)
                )
                for name in sorted(dims)
            }
        )
        self.output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, options.dim))

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, T, D_name), present[name]: (B, T) -> vector (B, dim)."""
        tokens, allowed = self.tokens(values, present)
        batch = len(next(iter(values.values())))
        there = stacked({name: mask.any(dim=1) for name, mask in present.items()})  # (B, M)
        shared = self.bottleneck.expand(batch, -1, -1)
        own = {
            n: torch.cat([self.summary[n].expand(batch, 1, -1), t], 1) for n, t in tokens.items()
        }
        masks = {n: _always_around(mask, len(self.bottleneck)) for n, mask in allowed.items()}
        for layer in range(self.options.layers - 1):
            joint = {n: torch.cat([own[n], shared], dim=1) for n in own}
            joint = {n: self.stacks[n][layer](x, x, masks[n]) for n, x in joint.items()}
            own = {n: x[:, : own[n].shape[1]] for n, x in joint.items()}
            written = {n: x[:, own[n].shape[1] :].flatten(1) for n, x in joint.items()}
            shared = masked_mean(stacked(written), there).view_as(shared)
        # Of the last layer only the summaries are read.
        summaries = {
            n: self.stacks[n][-1](x[:, :1], torch.cat([x, shared], dim=1), masks[n])[:, 0]
            for n, x in own.items()
        }
        return FusionOutput(masked_mean(self.output(stacked(summaries)), there))


def _always_around(mask: Tensor, bottleneck: int) -> Tensor:
    """The mask of [summary; tokens; bottleneck], whose first and last are always there."""
    before, after = mask.new_ones(len(mask), 1), mask.new_ones(len(mask), bottleneck)
    return torch.cat([before, mask, after], dim=1)
