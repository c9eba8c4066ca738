"""VGGish: 128 values per 0.96 s of sound, averaged over the clip.

The network of tensorflow/models research/audioset/vggish (Hershey et al. 2017, "CNN architectures
for large-scale audio classification"): no activation after the last layer, which both well-known
PyTorch ports still have. Optionally the reference's PCA step and its 8-bit quantiser, as in the
released AudioSet features.

Letters in shapes: E examples of 96 frames x 64 bands, B clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from encoders import mel, weight_files
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

DIM = 128
_OFFSET = 0.01
_ADVICE = (
    "Expected: the weights of torchvggish (vggish-10086976.pth) or of torchaudio's former VGGISH "
    "bundle (vggish.pt), converted by `python -m encoders.vggish_weights vggish.pth "
    "vggish.safetensors`; the PCA parameters (vggish_pca_params) likewise"
)


class VGGishNetwork(ExampleNetwork):
    """Four blocks of 3x3 convolutions and three dense layers; 72.1 million parameters.

    The parameter names are those of torchvggish, the port whose weights are found most often.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool"):
            if isinstance(width, int):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(6 * 4 * 512, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, DIM),
        )

    def maps_of(self, examples: Tensor) -> Tensor:
        """(E, 1, 96, 64) -> (E, 12288)."""
        maps = self.features(examples)  # (E, 512, 6, 4)
        # TensorFlow flattens with the channels last, and the weights of every port expect that.
        return maps.permute(0, 2, 3, 1).flatten(1)

    def embeddings_of(self, maps: Tensor) -> Tensor:
        """(E, 12288) -> (E, 128)."""
        return self.embeddings(maps)


@dataclass(frozen=True)
class PCA:
    """The reference's y = eigenvectors @ (x - means): (128, 128) and (128,) float64."""

    eigenvectors: np.ndarray
    means: np.ndarray

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """(E, 128) -> (E, 128) float32."""
        return ((embeddings - self.means) @ self.eigenvectors.T).astype(np.float32)


def quantise(values: np.ndarray) -> np.ndarray:
    """Clip to [-2, 2] and map to 0..255; truncates as the reference does (ports round)."""
    return ((np.clip(values, -2.0, 2.0) + 2.0) * (255.0 / 4.0)).astype(np.uint8)


@dataclass(frozen=True)
class VGGishOptions:
    """What a configuration may say about `vggish`.

    weights: a safetensors file. pca: a safetensors file with `pca_eigen_vectors` and `pca_means`
    (it may be the same file), None to leave the step out. quantise: clip and truncate the PCA
    output to the whole numbers 0..255, before the mean over examples. tail: a clip shorter than one
    example (15,600 samples at 16 kHz) is always padded with zeros to one; `drop` leaves out what
    follows the last whole example of a longer clip, as the reference does, `pad` fills it up with
    zeros.
    """

    weights: str = field(default="", metadata={"location": True})
    pca: str | None = field(default=None, metadata={"location": True})
    quantise: bool = False
    tail: Literal["drop", "pad"] = "drop"

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError(f"vggish: the option `weights` is not given. {_ADVICE}")
        if self.quantise and not self.pca:
            raise ValueError(
                "vggish: `quantise` needs `pca`: the 8-bit step is defined on the PCA output"
            )
        if self.tail not in ("drop", "pad"):
            raise ValueError(f"vggish: expected tail drop or pad, got {self.tail!r}")


class VGGish:
    """Sound -> the mean VGGish embedding of its examples, (128,)."""

    Options = VGGishOptions
    batch = 1

    @classmethod
    def identify(cls, options: VGGishOptions) -> Identity:
        """Hashes the weight files; builds nothing."""
        weight_files.check(options.weights, "vggish: weights", _ADVICE)
        settings: dict[str, Any] = {"quantise": options.quantise, "tail": options.tail}
        if options.pca:
            weight_files.check(options.pca, "vggish: pca", _ADVICE)
            settings["pca"] = weight_files.digest(options.pca)
        return Identity("vggish", DIM, weight_files.digest(options.weights), settings)

    def __init__(
        self, options: VGGishOptions, *, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.identity = self.identify(options)
        self.dim = DIM
        self.module = place(load_network(options.weights), precision=precision, device=device)
        self._options = options
        self._pca = load_pca(options.pca) if options.pca else None

    def prepare(self, items: Sequence[Waveform]) -> list[np.ndarray]:
        """Log-mel examples of each sound, (E, 96, 64) float32."""
        pad_tail = self._options.tail == "pad"
        hop = mel.EXAMPLE_FRAMES
        return [
            waveform_examples(item, offset=_OFFSET, hop=hop, pad_tail=pad_tail) for item in items
        ]

    def cost(self, item: np.ndarray) -> int:
        """Examples."""
        return len(item)

    def tensors(self, batch: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Prepared sounds -> what `module` takes to give (B, D)."""
        return example_tensors(batch)

    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, 128) float32: the mean over examples, after PCA and quantiser where these are on."""
        clips = embed(self.module, batch, self.batch, dense=True)
        return mean_of_examples(
            [None if clip is None else self._postprocessed(clip) for clip in clips], DIM
        )

    def _postprocessed(self, embeddings: np.ndarray) -> np.ndarray:
        if self._pca is None:
            return embeddings
        projected = self._pca(embeddings)
        return quantise(projected) if self._options.quantise else projected


def load_network(path: str) -> VGGishNetwork:
    """The network with the weights of a safetensors file in any of the known layouts."""
    with torch.device("meta"):  # 72 million random numbers that nobody would use
        network = VGGishNetwork()
    found = {_port_name(name): tensor for name, tensor in weight_files.load(path).items()}
    network.load_state_dict(weight_files.require(found, network.state_dict(), path), assign=True)
    return network


def load_pca(path: str) -> PCA:
    """The PCA parameters of a safetensors file, with or without torchvggish's prefix `pproc.`."""
    found = {name.removeprefix("pproc."): t for name, t in weight_files.load(path).items()}
    if "pca_means" in found:  # (128, 1) in the reference's own file
        found["pca_means"] = found["pca_means"].flatten()
    expected = {"pca_eigen_vectors": torch.empty(DIM, DIM), "pca_means": torch.empty(DIM)}
    tensors = weight_files.require(found, expected, path)
    return PCA(tensors["pca_eigen_vectors"].double().numpy(), tensors["pca_means"].double().numpy())


def _port_name(name: str) -> str:
    """torchaudio's name of a parameter -> torchvggish's (which is ours)."""
    return name.replace("embedding_network.", "embeddings.", 1)
