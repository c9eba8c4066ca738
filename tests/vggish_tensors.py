"""Seeded weights for VGGish under torchvggish's names: the published ones are not at hand."""

import torch

CONVOLUTIONS = {
    0: (1, 64),
    3: (64, 128),
    6: (128, 256),
    8: (256, 256),
    11: (256, 512),
    13: (512, 512),
}
DENSE = {0: (12288, 4096), 2: (4096, 4096), 4: (4096, 128)}


def vggish_tensors() -> dict[str, torch.Tensor]:
    """Values that keep the signal's size from layer to layer."""
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for number, (inputs, outputs) in CONVOLUTIONS.items():
        scale = (2 / (9 * inputs)) ** 0.5
        tensors[f"features.{number}.weight"] = (
            torch.randn(outputs, inputs, 3, 3, generator=random) * scale
        )
        tensors[f"features.{number}.bias"] = torch.randn(outputs, generator=random) * 0.1
    for number, (inputs, outputs) in DENSE.items():
        weight = torch.randn(outputs, inputs, generator=random)
        tensors[f"embeddings.{number}.weight"] = weight * (2 / inputs) ** 0.5
        tensors[f"embeddings.{number}.bias"] = torch.randn(outputs, generator=random) * 0.1
    return tensors
