"""YAMNet: 1024 values per 0.96 s of sound, averaged over the clip.

The MobileNetV1-like network of tensorflow/models research/audioset/yamnet, up to its global average
pool, with batch norm folded into the convolutions. Its convolutions pad as TensorFlow's SAME does:
where an odd number of zeros is needed (stride 2) the extra one comes last; symmetric padding would
shift every feature.

Letters in shapes: E patches of 96 frames x 64 bands, B clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders import weight_files
from encoders.base import Identity
from encoders.media.types import Waveform
from encoders.windows import (
    ExampleNetwork,
    embed,
    example_tensors,
    mean_of_examples,
    place,
    waveform_examples,
)

DIM = 1024
_OFFSET = 0.001
_HOP = 48  # frames: neighbouring patches share half of their sound
_ADVICE = (
    "Expected: yamnet.safetensors with layer00.weight, layer00.bias ... layer26.bias, the weights "
    "of YAMNet (tensorflow/models, research/audioset/yamnet) with batch norm folded in"
)
# (output channels, stride) of the thirteen depthwise-separable blocks after the first convolution.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, followed by a ReLU."""

    def forward(self, maps: Tensor) -> Tensor:
        """(E, C, H, W) -> (E, C', ceil(H / stride), ceil(W / stride))."""
        height, width = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0)
            for size, stride, kernel in zip(
                maps.shape[-2:], self.stride, self.kernel_size, strict=True
            )
        )
        padding = (width // 2, width - width // 2, height // 2, height - height // 2)
        return functional.relu(super().forward(functional.pad(maps, padding)), inplace=True)


class YAMNetNetwork(ExampleNetwork):
    """layer00: a 3x3 convolution; then pairs of a depthwise 3x3 and a 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [SameConv2d(1, 32, 3, stride=2)]
        channels = 32
        for width, stride in _BLOCKS:
            convolutions.append(SameConv2d(channels, channels, 3, stride=stride, groups=channels))
            convolutions.append(SameConv2d(channels, width, 1))
            channels = width
        for number, convolution in enumerate(convolutions):
            self.add_module(f"layer{number:02}", convolution)

    def maps_of(self, patches: Tensor) -> Tensor:
        """(E, 1, 96, 64) -> (E, 1024)."""
        maps = patches
        for layer in self.children():
            maps = layer(maps)
        return maps.mean(dim=(2, 3))


@dataclass(frozen=True)
class YAMNetOptions:
    """What a configuration may say about `yamnet`. weights: a safetensors file."""

    weights: str = field(default="", metadata={"location": True})

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError(f"yamnet: the option `weights` is not given. {_ADVICE}")


class YAMNet:
    """Sound -> the mean YAMNet embedding of its patches, (1024,).

    A sound shorter than one patch (15,600 samples at 16 kHz) is padded with zeros; what follows the
    last whole patch is left out.
    """

    Options = YAMNetOptions
    batch = 1

    @classmethod
    def identify(cls, options: YAMNetOptions) -> Identity:
        """Hashes the weight file; builds nothing."""
        weight_files.check(options.weights, "yamnet: weights", _ADVICE)
        return Identity("yamnet", DIM, weight_files.digest(options.weights), {"hop": _HOP})

    def __init__(
        self, options: YAMNetOptions, *, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.identity = self.identify(options)
        self.dim = DIM
        self.module = place(load_network(options.weights), precision=precision, device=device)

    def prepare(self, items: Sequence[Waveform]) -> list[np.ndarray]:
        """Log-mel patches of each sound, (E, 96, 64) float32."""
        return [waveform_examples(item, offset=_OFFSET, hop=_HOP) for item in items]

    def cost(self, item: np.ndarray) -> int:
        """Patches."""
        return len(item)

    def tensors(self, batch: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Prepared sounds -> what `module` takes to give (B, D)."""
        return example_tensors(batch)

    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, 1024) float32: the mean over patches."""
        return mean_of_examples(embed(self.module, batch, self.batch), DIM)


def load_network(path: str) -> YAMNetNetwork:
    """The network with the weights of a safetensors file."""
    with torch.device("meta"):
        network = YAMNetNetwork()
    found = weight_files.load(path)
    network.load_state_dict(weight_files.require(found, network.state_dict(), path), assign=True)
    return network
