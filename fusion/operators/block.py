"""BLOCK: a block-superdiagonal core: chunks of the projections meet their own kind only, in low rank."""

from collections.abc import Mapping
from dataclasses import dataclass

from fusion.cores import CoreFusion, RankCore
from fusion.options import counted


class BLOCK(CoreFusion):
    """h = P [y_1, ..., y_C] + c,  y_c = sum_{r<=R} prod_m (N_mcr z_mc),  [z_m1, ..., z_mC] = W_m x_m + b_m.

    Each y_c by signed square root and length. Any number of features: one factor each in every
    product. Absent: z_m = 1, as in Tucker. All absent: the same formula, a learned constant.
    Ben-younes, Cadene, Thome and Cord, BLOCK: Bilinear Superdiagonal Fusion for Visual Question
    Answering and Visual Relationship Detection, AAAI 2019.
    """

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. chunks: C. size: length of a chunk. rank: R.
        normalise: signed square root and length, chunk by chunk."""

        dim: int = 128
        chunks: int = 8
        size: int = 32
        rank: int = 5
        normalise: bool = True

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or BLOCK.Options()
        core = RankCore(dims, options.chunks, options.size, options.rank)
        super().__init__(dims, options.dim, options, core, normalise=options.normalise)
