"""MUTAN: Tucker fusion whose core is a sum of R elementwise products."""

from collections.abc import Mapping
from dataclasses import dataclass

from fusion.cores import CoreFusion, RankCore
from fusion.options import counted


class MUTAN(CoreFusion):
    """h = P sum_{r<=R} prod_m (N_mr z_m) + c,  z_m = W_m x_m + b_m.

    Any number of features: one factor N_mr z_m each in every one of the R products. Absent: z_m = 1,
    as in Tucker. All absent: P sum_r prod_m (N_mr 1) + c. Ben-younes, Cadene, Cord and Thome, MUTAN:
    Multimodal Tucker Fusion for Visual Question Answering, ICCV 2017.
    """

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. hidden: length of z_m and of each product. rank: R."""

        dim: int = 128
        hidden: int = 128
        rank: int = 5

        def __post_init__(self) -> None:
            counted(self)

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or MUTAN.Options()
        core = RankCore(dims, 1, options.hidden, options.rank)
        super().__init__(dims, options.dim, options, core)
