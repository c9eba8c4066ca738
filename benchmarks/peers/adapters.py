"""One way to call everything: a module that takes the list of features, all present."""

import types
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import fusion
from fusion.base import Fusion
from learning.correlation import squared_correlations
from learning.gaussian import mixture_of_products


class Ours(nn.Module):
    """A fusion of ours."""

    def __init__(self, own: Fusion) -> None:
        super().__init__()
        self.fusion = own

    def forward(self, values: list[Tensor]) -> Tensor:
        features = dict(zip(self.fusion.dims, values, strict=True))
        rows = {
            n: torch.ones(len(v), dtype=torch.bool, device=v.device) for n, v in features.items()
        }
        return self.fusion(features, rows).vector


def ours(name: str, sizes: Sequence[int], **options: Any) -> Ours:
    """A fusion of ours for features of these lengths."""
    return Ours(fusion.build(name, named(sizes), **options))


class Products(nn.Module):
    """The fusion step of our MoPoE alone: five experts (B, 512), their subsets' mixture."""

    def forward(self, values: list[Tensor]) -> tuple[Tensor, Tensor]:
        mean, log_variance = (torch.stack(values[i::2], dim=1) for i in (0, 1))
        present = torch.ones(mean.shape[:2], dtype=torch.bool)
        found = mixture_of_products(mean, log_variance, present)
        return found.mean, found.precision


class Correlations(nn.Module):
    """The loss of our DCCA alone."""

    def forward(self, values: list[Tensor]) -> Tensor:
        return -squared_correlations(values[0], values[1], 1e-5)


class Separate(nn.Module):
    """Theirs, where it takes the features one by one."""

    def __init__(self, theirs: nn.Module) -> None:
        super().__init__()
        self.theirs = theirs

    def forward(self, values: list[Tensor]) -> Tensor:
        return self.theirs(*values)


class Named(nn.Module):
    """Theirs, where it takes the features by name."""

    def __init__(self, theirs: nn.Module) -> None:
        super().__init__()
        self.theirs = theirs

    def forward(self, values: list[Tensor]) -> Tensor:
        return self.theirs({f"x{i}": value for i, value in enumerate(values)})


def named(sizes: Sequence[int]) -> dict[str, int]:
    """Names for features that have none, in their order."""
    return {f"x{i}": size for i, size in enumerate(sizes)}


def deep_set(own: types.SimpleNamespace, sizes: Sequence[int], dim: int) -> Named:
    """torchmultimodal's, which projects every feature to the length of the shortest."""
    layers = own.MLP(min(sizes), dim, hidden_dims=dim, dropout=0.0)
    return Named(own.DeepsetFusionModule(named(sizes), layers, torch.mean, use_auto_mapping=True))


def mopoe_step(base: type, batch: int) -> nn.Module:
    """The fusion step of MoPoE's model, given what its encoders said of five features."""
    names = [f"m{i}" for i in range(5)]

    class Step(base):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            mods = {n: types.SimpleNamespace(name=n) for n in names}
            chosen = [[n for i, n in enumerate(names) if k >> i & 1] for k in range(32)]
            self.modalities = mods
            self.subsets = {"_".join(own): [mods[n] for n in own] for own in chosen}
            self.flags = types.SimpleNamespace(
                device="cpu", batch_size=batch, class_dim=512, modality_jsd=False,
                alpha_modalities=[1 / 6] * 6, modality_poe=False, modality_moe=False, joint_elbo=True,
                factorized_representation=False,
            )  # fmt: skip
            self.set_fusion_functions()

        def encode(self, batch: dict[str, Any]) -> dict[str, Any]:
            return batch

        def forward(self, values: list[Tensor]) -> tuple[Tensor, Tensor]:
            given = {n: values[2 * i : 2 * i + 2] for i, n in enumerate(names)}
            found = self.inference(given, batch)
            return found["mus"], found["logvars"]

    return Step()
