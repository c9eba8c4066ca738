"""Training without labels: every present feature must be readable from the fused vector.

Ngiam et al., Multimodal Deep Learning, ICML 2011: decode all modalities from a code made of some.
With noise it is the denoising autoencoder, with penalties the sparse and the contractive one, with
labels the supervised one; each is an option, and they combine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fusion.autoencoders.autoencoder import Autoencoder
from fusion.base import Fusion
from fusion.objectives.coding import coding
from fusion.objectives.decoding import Decoding, DecodingOptions, mean_where
from learning import penalties


class Reconstruct(Decoding):
    """loss = mean over features of mean over present rows of |x_m - g_m(vector)|^2 / D_m, and the options'.

    Each feature counts the same, however long it is and however often it is there: on standardised
    inputs its term is the share of its variance that the vector does not explain.

    Raises:
        ValueError: an option that doesn't fit, or a penalty this fusion's code can't have.
    """

    @dataclass(frozen=True)
    class Options(DecodingOptions):
        """penalties: e.g. [{name: l1-codes, weight: 0.001}], see `learning.penalties.PENALTIES`."""

        penalties: list[dict[str, Any]] = field(default_factory=list)

        def __post_init__(self) -> None:
            super().__post_init__()
            names = [penalties.name_of(penalties.build(spec)) for spec in self.penalties]
            if len(set(names)) < len(names):
                raise ValueError(f"penalties: expected each once, got {', '.join(names)}")

    def __init__(self, fusion: Fusion, options: Options | None = None) -> None:
        options = options or Reconstruct.Options()
        super().__init__(fusion, options)
        self.penalties = [penalties.build(spec) for spec in options.penalties]
        code, layer = None, None
        if isinstance(fusion, Autoencoder):
            code, layer = fusion.options.code, fusion.single_layer()
        for penalty in self.penalties:
            penalties.check(penalty, code, layer)

    def losses(
        self,
        fusion: Fusion,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{feature: scalar}, {"penalty/name": scalar} for each penalty, and "label" where asked for."""
        values, masks = self.shown(fusion, features, present)
        vector = fusion.fuse(values, masks).vector
        losses = {
            name: mean_where(error, there) / len(fusion.dims)
            for name, (error, there) in self.errors(fusion, vector, features, present).items()
        }
        if self.penalties:
            coded = coding(fusion, values, masks, vector, fixed=not self.training)
            for penalty in self.penalties:
                # Without a record there is no mean over records.
                value = penalty(coded) if len(coded.code) else coded.code.sum()
                losses[f"penalty/{penalties.name_of(penalty)}"] = penalty.weight * value
        return losses | self.label_losses(vector, targets)
