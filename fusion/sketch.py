"""Count sketch: D coordinates hashed into far fewer buckets with random signs; inner products stay true.

Charikar, Chen and Farach-Colton, ICALP 2002. The sketch of an outer product is the circular convolution
of the sketches: a product of their spectra (Pham and Pagh, KDD 2013).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fusion.factors import product
from learning.numerics import without_autocast


class CountSketch(nn.Module):
    """y_j = sum over the i with bucket_i = j of sign_i x_i. (B, D) -> (B, size)

    On average over hashes <sketch(x), sketch(y)> = <x, y>. The hashes are drawn from torch's generator
    and stored with the weights, three bytes a coordinate.
    """

    bucket: Tensor
    sign: Tensor

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        if not 1 <= size < 2**31:
            raise ValueError(f"sketch: expected 1 to 2^31 - 1 buckets, got {size}")
        dtype = torch.int16 if size <= 2**15 else torch.int32
        self.size = size
        self.register_buffer("bucket", torch.randint(size, (dim,)).to(dtype))
        self.register_buffer("sign", (2 * torch.randint(2, (dim,)) - 1).to(torch.int8))

    def forward(self, values: Tensor) -> Tensor:
        """(B, D) -> (B, size)."""
        signed = values * self.sign
        empty = signed.new_zeros((len(values), self.size))
        return empty.index_add_(1, self.bucket.long(), signed)


def sketch_of_product(sketches: Iterable[Tensor], norm: str = "backward") -> Tensor:
    """The sketch of the outer product of all [1; x_m], from the sketches of the x_m: (B, size) each.

    norm: of the transform back, as torch calls it; "ortho" gives sqrt(size) times the sketch.

    The one is hashed to bucket 0 with sign +: its spectrum is 1 throughout. Transformed in float32 at
    least: half precision has too few digits, and GPUs transform it for powers of two only.
    """
    rows = [s if s.dtype == torch.float64 else s.float() for s in sketches]
    if not len(rows[0]):
        return rows[0]  # the transforms refuse an empty batch
    with without_autocast(rows[0]):
        return _Convolution.apply(norm, *rows)


class _Convolution(torch.autograd.Function):
    """irfft(prod_m (1 + rfft(row_m))). Its gradients are correlations, real transforms again; the
    derivative of rfft alone takes a complex one of full length."""

    @staticmethod
    def forward(ctx: Any, norm: str, *rows: Tensor) -> Tensor:
        spectra = [torch.fft.rfft(row).add_(1) for row in rows]
        ctx.save_for_backward(*spectra)
        ctx.norm = norm
        return torch.fft.irfft(product(spectra), n=rows[0].shape[1], norm=norm)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        spectra = ctx.saved_tensors
        own = torch.fft.rfft(gradient).conj_physical_()
        found: list[Tensor | None] = [None]
        for m in range(len(spectra)):
            # conj(conj(g) s) instead of g conj(s), which would copy every spectrum.
            mixed = product([own, *spectra[:m], *spectra[m + 1 :]]).conj_physical_()
            found.append(torch.fft.irfft(mixed, n=gradient.shape[1], norm=ctx.norm))
        return tuple(found)
