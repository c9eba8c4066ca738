"""What the product operators (MLB, MFB, MFH, Tucker, MUTAN, BLOCK) share: the factors of a product.

z_m = W_m x_m + b_m for a present feature, and all ones, the neutral element of the product, for an
absent one: what the present features say passes unchanged. The bias keeps the products of fewer
features in the product: (b_1 + W_1 x_1)(b_2 + W_2 x_2) holds x_1 and x_2 beside x_1 x_2.
"""

import functools
import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fusion.per_feature import PerFeature, linear
from fusion.presence import unit, where_present
from learning.numerics import signed_sqrt


def factors(dims: Mapping[str, int], out: int) -> PerFeature[nn.Linear]:
    """W_m x_m + b_m of unit mean square for standardised features, half of it from the bias.

    A product of M such factors keeps unit mean square, whatever M is and whichever are left out.
    """
    projections = linear(dims, out)
    for name in projections:
        nn.init.normal_(projections[name].weight, std=math.sqrt(0.5 / dims[name]))
        nn.init.normal_(projections[name].bias, std=math.sqrt(0.5))  # both signs: a sum pools them
    return projections


def neutral(values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, all ones where a feature is absent. values[name]: (B, D), present[name]: (B,)."""
    return {name: where_present(present[name], values[name], 1) for name in values}


def product(tensors: Iterable[Tensor]) -> Tensor:
    """Elementwise; unlike torch.prod its gradient needs no special case for zeros."""
    return functools.reduce(torch.mul, tensors)


def power_normalised(vectors: Tensor) -> Tensor:
    """Signed square root, then length sqrt(D), so that coordinates have unit scale; zero stays zero."""
    return unit(signed_sqrt(vectors), math.sqrt(vectors.shape[-1]))
