"""Core tensors: how the factors of a record meet. A chunk is a group of coordinates with a core of its own.

B records, M features, C chunks of size S. All chunks are contracted together by batched matmuls.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fusion.base import FusionOutput, Learned
from fusion.factors import factors, neutral, power_normalised, product
from fusion.per_feature import ParameterPerFeature

SLICE = 2**22  # bytes: larger products than that are made a few chunks at a time, which caches like
BUDGET = 2**20  # weights of the full cores where the user leaves their size open: 4 MB


def affordable(features: int, chunks: int, at_most: int) -> int:
    """The largest chunk size up to `at_most` whose full cores stay within a million weights, at least 2."""
    sizes = range(2, at_most + 1)
    return max((s for s in sizes if chunks * s ** (features + 1) <= BUDGET), default=2)


class Core(nn.Module):
    """{feature: (B, C S)} -> (B, C, S), chunk by chunk."""

    def __init__(self, names: Iterable[str], chunks: int, size: int) -> None:
        super().__init__()
        self.names = sorted(names)
        self.chunks = chunks
        self.size = size

    def forward(self, values: Mapping[str, Tensor]) -> Tensor:
        """Contract every chunk of the features with its core."""
        rows = [values[name].unflatten(1, (self.chunks, self.size)) for name in self.names]
        return self.contract([r.transpose(0, 1) for r in rows]).transpose(0, 1)

    def contract(self, rows: list[Tensor]) -> Tensor:
        """One (C, B, S) for every feature, by name -> (C, B, S)."""
        raise NotImplementedError


class FullCore(Core):
    """y_c = T_c x_1 z_1c x_2 ... x_M z_Mc, T_c of S^(M+1) weights."""

    def __init__(self, names: Iterable[str], chunks: int, size: int) -> None:
        super().__init__(names, chunks, size)
        inputs = size ** len(self.names)
        self.weight = nn.Parameter(torch.randn(chunks, size, inputs) / math.sqrt(inputs))

    def contract(self, rows: list[Tensor]) -> Tensor:
        """One feature after the other takes its mode out of the core."""
        first, *others = rows
        left = torch.bmm(
            first, self.weight
        )  # (C, B, S^M), the modes of the others and of the output
        for row in others:
            left = torch.einsum("cbi,cbij->cbj", row, left.unflatten(2, (self.size, -1)))
        return left


class RankCore(Core):
    """y_c = sum_r prod_m N_mcr z_mc, a core of R products: R S^2 weights per feature and chunk."""

    def __init__(self, names: Iterable[str], chunks: int, size: int, rank: int) -> None:
        super().__init__(names, chunks, size)
        self.rank = rank
        # A sum of R products of M factors that has unit mean square again.
        deviation = size**-0.5 * rank ** (-0.5 / len(self.names))
        self.slices = ParameterPerFeature(
            {name: torch.randn(chunks, size, rank * size) * deviation for name in self.names}
        )

    def contract(self, rows: list[Tensor]) -> Tensor:
        """All R slices of a feature in one batched matmul over the chunks, or in as few as `SLICE` allows."""
        wide = rows[0].element_size() * rows[0].shape[1] * self.rank * self.size  # of one chunk
        step = max(1, SLICE // max(1, wide))
        slices = [self.slices[name] for name in self.names]
        if step >= self.chunks:  # as `split` would do, whose gradient is a copy of all slices
            return self._sums(zip(rows, slices, strict=True))
        pairs = [
            zip(r.split(step), n.split(step), strict=True)
            for r, n in zip(rows, slices, strict=True)
        ]
        return torch.cat([self._sums(group) for group in zip(*pairs, strict=True)])

    def _sums(self, group: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """(rows, slices) of every feature for some of the chunks."""
        products = product(torch.bmm(row, weights) for row, weights in group)
        return products.unflatten(2, (self.rank, self.size)).sum(dim=2)


class CoreFusion(Learned):
    """h = P [y_1, ..., y_C] + c, the y_c from a core over the factors of the features.

    normalise: each y_c by signed square root and length first (`fusion.factors.power_normalised`).
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int,
        options: Any,
        core: Core,
        *,
        normalise: bool = False,
    ) -> None:
        super().__init__(dims, dim, options)
        width = core.chunks * core.size
        self.factors = factors(dims, width)
        self.core = core
        self.normalise = normalise
        self.output = nn.Linear(width, dim)

    def fuse(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """values[name]: (B, D_name) -> vector (B, dim)."""
        chunks = self.core(neutral(self.factors(values), present))  # (B, C, S)
        if self.normalise:
            chunks = power_normalised(chunks)
        return FusionOutput(self.output(chunks.flatten(1)))
