"""BLOCK with full cores: every chunk is a small Tucker fusion."""

from collections.abc import Mapping
from dataclasses import dataclass

from fusion.cores import CoreFusion, FullCore, affordable
from fusion.options import counted


class BlockTucker(CoreFusion):
    """h = P [y_1, ..., y_C] + c,  y_c = T_c x_1 z_1c x_2 ... x_M z_Mc,  [z_m1, ..., z_mC] = W_m x_m + b_m.

    Each y_c by signed square root and length. One chunk is Tucker fusion. Any number of features: one
    mode of every core each. Absent: z_m = 1, its mode is summed out. All absent: the same formula, a
    learned constant. Ben-younes, Cadene, Thome and Cord, BLOCK, AAAI 2019, before its low-rank step.
    """

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. chunks: C. size: length of a chunk; None: 32 for two
        features, fewer for more, so that all cores together stay within a million weights.
        normalise: signed square root and length, chunk by chunk."""

        dim: int = 128
        chunks: int = 8
        size: int | None = None
        normalise: bool = True

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or BlockTucker.Options()
        size = options.size or affordable(len(dims), options.chunks, at_most=32)
        core = FullCore(dims, options.chunks, size)
        super().__init__(dims, options.dim, options, core, normalise=options.normalise)
