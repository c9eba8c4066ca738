"""Sound features: a small convolutional network on log-mel pictures, one per set of training speakers.

A network recognises the recordings it was trained on far too well: a fusion that learned from such
features would trust the sound of a stranger too much. So they are cross-fitted: a training clip is
described by a network that never heard its speaker, as the test clips are.

Features of different networks must mean the same. All networks start from the same weights and are
trained against the same fixed classifier, ten orthonormal rows over 64 rectified units: what a unit
says about each digit is settled before training, so no rotation between networks is left to undo.
(Aligning trained features by a rotation afterwards needs common clips, and each pair of networks
has heard other ones; padding log-probabilities to 64 would throw away all but ten numbers.)
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.avmnist.dataset import Sounds
from encoders import mel
from encoders.media.types import Waveform

DIM = 64
BANDS, FRAMES = 48, 40  # the bands below the 4 kHz these recordings reach; frames after stretching
STEPS, BATCH, RATE = 600, 64, 3e-3
_OFFSET, _MARGIN = 0.01, 200  # of the log; samples of silence added on either side (25 ms)


def pictures(sounds: Sounds) -> Tensor:
    """Every clip, trimmed, stretched to the same length and normalised. (N, 48, 40)"""
    return torch.stack([_picture(clip) for clip in sounds.waveforms()])


def _picture(clip: Waveform) -> Tensor:
    samples = clip.samples - clip.samples.mean()
    samples = np.pad(samples / np.abs(samples).max(), _MARGIN)
    levels = mel.levels(Waveform(samples, clip.rate), offset=_OFFSET)[:, :BANDS]
    loudness = np.log(np.exp(levels).mean(axis=1))
    speech = np.flatnonzero(loudness > 0.3 * loudness.max())
    kept = torch.from_numpy(levels[max(0, speech[0] - 2) : speech[-1] + 3].T[None])
    # The same length for all: how fast somebody speaks says little about the digit.
    picture = F.interpolate(kept, size=FRAMES, mode="linear", align_corners=True)[0]
    return (picture - picture.mean()) / picture.std()


def features(pictures: Tensor, labels: np.ndarray, heard: np.ndarray, cache: Path) -> np.ndarray:
    """All clips through a network trained on the clips `heard`: (N, 64) float32.

    Kept in `cache` under what they depend on, this file included.
    """
    source = Path(__file__).read_bytes() + Path(mel.__file__).read_bytes()
    key = hashlib.sha256(source + np.sort(heard).astype("<i4").tobytes()).hexdigest()[:16]
    path = cache / f"sounds-{key}.npy"
    if not path.exists():
        network = trained(pictures[heard], torch.from_numpy(labels[heard]))
        with torch.no_grad():
            found = network.units(pictures).numpy()
        partial = path.with_suffix(".partial.npy")
        np.save(partial, found)
        partial.replace(path)
    return np.load(path)


def trained(pictures: Tensor, labels: Tensor) -> "Network":
    """A network for these clips; the same every time."""
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network()
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS)
        for _ in range(STEPS):
            chosen = torch.randint(0, len(labels), (BATCH,), generator=draws)
            logits = network(augmented(pictures[chosen], draws))
            loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


class Network(nn.Module):
    """Three convolutions, 64 rectified units, a fixed classifier: (B, 48, 40) -> logits (B, 10)."""

    classes: Tensor

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *_convolution(1, width, kernel=5, stride=2),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 4 * width),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(4 * width * (BANDS // 8) * (FRAMES // 8), DIM),
            nn.ReLU(),
        )
        self.register_buffer("classes", nn.init.orthogonal_(torch.empty(10, DIM)))

    def units(self, pictures: Tensor) -> Tensor:
        """(B, 48, 40) -> (B, 64), what a fusion gets."""
        return self.trunk(pictures[:, None])

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 48, 40) -> (B, 10)."""
        return self.units(pictures) @ self.classes.T


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def augmented(pictures: Tensor, draws: torch.Generator) -> Tensor:
    """The same words from other speakers, rooms and tempi. (B, bands, frames) -> the same shape"""
    count = len(pictures)

    def around(spread: float) -> Tensor:
        return (torch.rand(count, 1, 1, generator=draws) * 2 - 1) * spread

    pictures = _warped(pictures, around)
    # Another microphone: a smooth filter over the bands.
    gains = torch.randn(count, 1, 6, generator=draws) * 0.5
    pictures = pictures + F.interpolate(gains, size=BANDS, mode="linear").transpose(1, 2)
    pictures = pictures * (1 + around(0.2))
    loudness = 0.3 * torch.rand(count, 1, 1, generator=draws)
    pictures = pictures + loudness * torch.randn(pictures.shape, generator=draws)
    for axis in (1, 2):  # SpecAugment: a band, then a moment, of up to seven is hidden
        pictures = _hidden(pictures, axis, draws)
    return pictures


def _warped(pictures: Tensor, around: Callable[[float], Tensor]) -> Tensor:
    """Vocal tract (bands stretched from the lowest), pitch, tempo, uneven tempo and onset."""
    _, bands, frames = pictures.shape
    band = torch.linspace(-1, 1, bands)[None, :, None]
    frame = torch.linspace(-1, 1, frames)[None, None, :]
    y = (band + 1) * (1 + around(0.15)) - 1 + around(0.06)
    x = frame * (1 + around(0.2)) + around(0.12) + around(0.1) * torch.sin(math.pi * frame)
    grid = torch.stack(torch.broadcast_tensors(x, y), dim=-1)
    warped = F.grid_sample(pictures[:, None], grid, align_corners=True, padding_mode="border")
    return warped[:, 0]


def _hidden(pictures: Tensor, axis: int, draws: torch.Generator) -> Tensor:
    size = pictures.shape[axis]
    start = torch.randint(0, size, (len(pictures), 1), generator=draws)
    length = torch.randint(0, 8, (len(pictures), 1), generator=draws)
    place = torch.arange(size)[None]
    mask = (place >= start) & (place < start + length)
    return pictures.masked_fill(mask.unsqueeze(3 - axis), 0.0)
