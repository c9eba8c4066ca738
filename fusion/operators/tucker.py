"""Tucker fusion: short projections of all features meet in one full core tensor."""

from collections.abc import Mapping
from dataclasses import dataclass

from fusion.cores import CoreFusion, FullCore, affordable
from fusion.options import counted


class Tucker(CoreFusion):
    """h = P (T x_1 z_1 x_2 ... x_M z_M) + c,  z_m = W_m x_m + b_m.

    Any number of features: one mode of the core each, S^(M+1) weights. Absent: z_m = 1, its mode is
    summed out. All absent: P (T x_1 1 ... x_M 1) + c, a learned constant. Tucker, Psychometrika 1966;
    as a fusion Ben-younes, Cadene, Cord and Thome, MUTAN, ICCV 2017.
    """

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. hidden: S, length of each z_m and of the core's output.
        None: 64 for two features, fewer for more, so that the core stays within a million weights."""

        dim: int = 128
        hidden: int | None = None

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or Tucker.Options()
        hidden = options.hidden or affordable(len(dims), chunks=1, at_most=64)
        super().__init__(dims, options.dim, options, FullCore(dims, 1, hidden))
