"""Penalties on a code: what keeps an autoencoder from learning the identity. One explicit table.

A penalty is plain data, e.g. {"name": "kl", "weight": 0.1, "rho": 0.05}, and a function of how a batch
was coded. B records, D inputs, K units of the code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class SingleLayer:
    """An encoder that is code = activation(W inputs + b). weight: (K, D)."""

    weight: Tensor
    activation: str


@dataclass(frozen=True)
class Coding:
    """How a batch was coded.

    code: (B, K). inputs: (B, D), zero where `visible`, (B, D) bool, is not. encode: (B, D) -> (B, K), each
    row on its own. weights: the matrices of the encoder. layer: set where it is a single one.
    generator: where random directions come from; None: torch's own.
    """

    code: Tensor
    inputs: Tensor
    visible: Tensor
    encode: Callable[[Tensor], Tensor]
    weights: Sequence[Tensor] = ()
    layer: SingleLayer | None = None
    generator: torch.Generator | None = None


@dataclass(frozen=True)
class Penalty:
    """weight: what the value is multiplied by. needs: what the encoder must be, see `check`."""

    weight: float
    needs: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"weight: expected a number >= 0, got {self.weight}")

    def __call__(self, coding: Coding) -> Tensor:
        """The penalty of the batch, a scalar, not yet weighted."""
        raise NotImplementedError


class L1Codes(Penalty):
    """mean over records of sum_j |h_j|: few units are on."""

    def __call__(self, coding: Coding) -> Tensor:
        """See the class."""
        return coding.code.abs().sum(dim=1).mean()


class L2Codes(Penalty):
    """mean over records of sum_j h_j^2."""

    def __call__(self, coding: Coding) -> Tensor:
        """See the class."""
        return coding.code.square().sum(dim=1).mean()


class L1Weights(Penalty):
    """sum of |W_ij| over the matrices of the encoder."""

    def __call__(self, coding: Coding) -> Tensor:
        """See the class."""
        return torch.stack([weight.abs().sum() for weight in coding.weights]).sum()


class L2Weights(Penalty):
    """sum of W_ij^2 over the matrices of the encoder."""

    def __call__(self, coding: Coding) -> Tensor:
        """See the class."""
        return torch.stack([weight.square().sum() for weight in coding.weights]).sum()


@dataclass(frozen=True)
class KL(Penalty):
    """sum_j KL(rho || mean activation of unit j), for codes between 0 and 1: each unit is on at rate rho.

    Ng, CS294A lecture notes on sparse autoencoders, 2011.
    """

    needs = "sigmoid"
    rho: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rho < 1:
            raise ValueError(f"rho: expected 0 < rho < 1, got {self.rho}")

    def __call__(self, coding: Coding) -> Tensor:
        """See the class."""
        on = coding.code.mean(dim=0).clamp(1e-6, 1 - 1e-6)
        rho = torch.full_like(on, self.rho)
        return (rho * (rho / on).log() + (1 - rho) * ((1 - rho) / (1 - on)).log()).sum()


class Entropy(Penalty):
    """mean over records of -sum_j p_j ln p_j, p_j = |h_j| / sum |h|: few units carry a record.

    Unlike L1 it does not shrink the code: p is the same for c h.
    """

    def __call__(self, coding: Coding) -> Tensor:
        """See the class."""
        size = coding.code.abs()
        total = size.sum(dim=1, keepdim=True)
        shares = size / torch.where(total > 0, total, 1)
        # Floored inside the logarithm alone: its slope at a unit that is off would be infinite.
        return -(shares * shares.clamp_min(1e-12).log()).sum(dim=1).mean()


class Contractive(Penalty):
    """mean over records of |dh/dx|_F^2 = sum_j s'(a_j)^2 sum_i W_ji^2, exact for a single layer.

    Rifai, Vincent, Muller, Glorot and Bengio, ICML 2011.
    """

    needs = "single layer"

    def __call__(self, coding: Coding) -> Tensor:
        """See the class."""
        assert coding.layer is not None
        lengths = coding.visible.to(coding.code.dtype) @ coding.layer.weight.square().T  # (B, K)
        slope = _SLOPES[coding.layer.activation](coding.code)
        return (slope.square() * lengths).sum(dim=1).mean()


@dataclass(frozen=True)
class ContractiveEstimate(Penalty):
    """The same for any encoder, estimated: |J|_F^2 = E |J v|^2, v of independent signs (Hutchinson, 1990).

    One forward-mode product per probe, about one more pass of the encoder, however many inputs.
    """

    probes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probes < 1:
            raise ValueError(f"probes: expected at least 1, got {self.probes}")

    def __call__(self, coding: Coding) -> Tensor:
        """See the class."""
        total = coding.code.new_zeros(())
        for _ in range(self.probes):
            signs = torch.randint(0, 2, coding.inputs.shape, generator=coding.generator) * 2 - 1
            direction = signs.to(coding.inputs) * coding.visible
            change: Tensor = torch.func.jvp(coding.encode, (coding.inputs,), (direction,))[1]
            total = total + change.square().sum(dim=1).mean()
        return total / self.probes


# The derivative of an activation, from its value.
_SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": torch.ones_like,
    "relu": lambda code: (code > 0).to(code.dtype),
    "tanh": lambda code: 1 - code.square(),
    "sigmoid": lambda code: code * (1 - code),
}

PENALTIES: dict[str, type[Penalty]] = {
    "l1-codes": L1Codes,
    "l2-codes": L2Codes,
    "l1-weights": L1Weights,
    "l2-weights": L2Weights,
    "kl": KL,
    "entropy": Entropy,
    "contractive": Contractive,
    "contractive-estimate": ContractiveEstimate,
}


def build(spec: Mapping[str, Any]) -> Penalty:
    """The penalty of {"name": ..., "weight": ..., its own options}.

    Raises:
        ValueError: an unknown name, or options that do not fit.
    """
    options = dict(spec)
    name = options.pop("name", None)
    if name not in PENALTIES:
        raise ValueError(f"unknown penalty {name!r}; known: {', '.join(PENALTIES)}")
    own = {field.name: field for field in fields(PENALTIES[name])}
    for key in set(options) - set(own):
        raise ValueError(f"penalty {name}: unknown option {key!r}; known: {', '.join(own)}")
    for key, field in own.items():
        if field.default is MISSING and key not in options:
            raise ValueError(f"penalty {name}: {key} is missing, a number")
    return PENALTIES[name](**options)


def name_of(penalty: Penalty) -> str:
    """Its name in the table."""
    return next(name for name, kind in PENALTIES.items() if type(penalty) is kind)


def check(penalty: Penalty, activation: str | None, layer: SingleLayer | None) -> None:
    """Raises ValueError when an encoder with this code activation can't have the penalty."""
    if penalty.needs == "sigmoid" and activation != "sigmoid":
        raise ValueError(
            f"penalty kl: needs a code between 0 and 1 (code: sigmoid), got code: {activation}"
        )
    if penalty.needs == "single layer" and (layer is None or layer.activation not in _SLOPES):
        raise ValueError(
            "penalty contractive: the closed form is for one layer (an autoencoder with hidden: [] "
            f"and code: {', '.join(_SLOPES)}); for any other encoder use contractive-estimate"
        )
