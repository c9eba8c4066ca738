"""Modules and parameters that exist once per feature, under the feature's own name.

torch forbids dots and the names of its own methods as keys, and a feature may be called
`video.frames` or `type`: the stored key is `x_video/frames`, x_m being feature m in the formulas.
"""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, cast

from torch import Tensor, nn

from fusion.compaction import apply

M = TypeVar("M", bound=nn.Module)


def _key(name: str) -> str:
    return "x_" + name.replace(".", "/")


class PerFeature(nn.Module, Generic[M]):
    """One module per feature; the order of the given mapping changes nothing."""

    def __init__(self, modules: Mapping[str, M]) -> None:
        super().__init__()
        self.names = sorted(modules)
        for name in self.names:
            self.add_module(_key(name), modules[name])

    def __getitem__(self, name: str) -> M:
        return cast(M, self.get_submodule(_key(name)))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def forward(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Apply to each feature its own module: {name: (B, D_name)} -> {name: (B, D)}.

        Given the `Values` a fusion hands to `fuse`, absent rows share one computation (see
        `fusion.compaction`): a module must treat every row apart.
        """
        return {name: apply(self[name], values, name) for name in self.names}


class ParameterPerFeature(nn.Module):
    """One parameter per feature."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = sorted(parameters)
        for name in self.names:
            self.register_parameter(_key(name), nn.Parameter(parameters[name]))

    def __getitem__(self, name: str) -> Tensor:
        # Not get_parameter: under torch.func the weights are plain tensors.
        return cast(Tensor, getattr(self, _key(name)))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)


def linear(dims: Mapping[str, int], out: int, *, bias: bool = True) -> PerFeature[nn.Linear]:
    """W_m x_m + b_m for every feature: D_m -> out. Built in sorted order, so that a seed decides it."""
    return PerFeature({name: nn.Linear(dims[name], out, bias=bias) for name in sorted(dims)})
