"""Sound features: a small convolutional network on log-mel pictures, one per set of training speakers.

A network recognises the recordings it was trained on far too well: a fusion that learned from such
features would trust the sound of a stranger too much. So they are cross-fitted: a network describes
only clips of speakers it never heard, and the training clips of a fold are as strange to their
network as the test clips to theirs.

Features of different networks must mean the same. Here each of the 64 units answers a fixed
question, "is the digit one of these five?" (error-correcting output codes, Dietterich and Bakiri,
1995), and is squashed to [-1, 1]: the classifier over the units is the table of right answers and
never learns. Rectified units under a fixed classifier were tried and keep dimensions of their own
in every network; aligning trained features afterwards needs clips that both networks heard.
"""

import hashlib
import itertools
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
BANDS, FRAMES = 24, 24  # of a picture
STEPS, BATCH, RATE = 500, 64, 3e-3
VERSIONS = 6  # of a clip: itself, and as five other speakers might say it
_HEARD = 48  # the bands of the front end below the 4 kHz these recordings reach
_OFFSET, _MARGIN = 0.01, 200  # of the log; samples of silence added on either side (25 ms)


def pictures(sounds: Sounds) -> Tensor:
    """Every clip, trimmed, stretched to the same length and normalised. (N, 24, 24)"""
    return torch.stack([_picture(clip) for clip in sounds.waveforms()])


def _picture(clip: Waveform) -> Tensor:
    samples = clip.samples - clip.samples.mean()
    samples = np.pad(samples / np.abs(samples).max(), _MARGIN)
    levels = mel.levels(Waveform(samples, clip.rate), offset=_OFFSET)[:, :_HEARD]
    loudness = np.log(np.exp(levels).mean(axis=1))
    speech = np.flatnonzero(loudness > 0.3 * loudness.max())
    kept = torch.from_numpy(levels[max(0, speech[0] - 2) : speech[-1] + 3].T)
    # The same length for all: how fast somebody speaks says little about the digit.
    picture = F.interpolate(
        kept[None, None], (BANDS, FRAMES), mode="bilinear", align_corners=False, antialias=True
    )[0, 0]
    return (picture - picture.mean()) / picture.std()


def features(pictures: Tensor, labels: np.ndarray, heard: np.ndarray, cache: Path) -> np.ndarray:
    """The clips that a network trained on `heard` never heard: (6, N, 64) float32, NaN for the others.

    Kept in `cache` under what they depend on, this file included.
    """
    source = Path(__file__).read_bytes() + Path(mel.__file__).read_bytes()
    key = hashlib.sha256(source + np.sort(heard).astype("<i4").tobytes()).hexdigest()[:16]
    path = cache / f"sounds-{key}.npy"
    if not path.exists():
        network = trained(pictures[heard], torch.from_numpy(labels[heard]))
        strange = np.setdiff1d(np.arange(len(labels)), heard)
        found = np.full((VERSIONS, len(labels), DIM), np.nan, np.float32)
        found[:, strange] = versions(network, pictures[strange]).numpy()
        partial = path.with_suffix(".partial.npy")
        np.save(partial, found)
        partial.replace(path)
    return np.load(path)


def versions(network: "Network", pictures: Tensor) -> Tensor:
    """Each clip as it is, then as others might say it: (6, N, 64)."""
    draws = torch.Generator().manual_seed(1)
    said = [pictures, *(augmented(pictures, draws) for _ in range(VERSIONS - 1))]
    with torch.no_grad():
        blocks = [[network.units(block) for block in own.split(200)] for own in said]
    return torch.stack([torch.cat(own) for own in blocks])


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
    """Three convolutions, 64 squashed answers, the table of right ones: (B, 24, 24) -> logits (B, 10)."""

    answers: Tensor

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *_convolution(1, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 4 * width),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(4 * width * (BANDS // 4) * (FRAMES // 4), DIM),
            nn.Tanh(),
        )
        self.register_buffer("answers", right_answers())

    def units(self, pictures: Tensor) -> Tensor:
        """(B, 24, 24) -> (B, 64), what a fusion gets."""
        return self.trunk(pictures[:, None])

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 24, 24) -> (B, 10)."""
        return self.units(pictures) @ self.answers.T / math.sqrt(DIM)


def right_answers() -> Tensor:
    """+1 where the digit is in the five of a question, -1 where not: (10, 64), columns all different."""
    halves = [half for half in itertools.combinations(range(10), 5) if 0 in half]  # 126
    chosen = np.random.RandomState(0).permutation(len(halves))[:DIM]
    return torch.tensor([[1.0 if d in halves[i] else -1.0 for i in chosen] for d in range(10)])


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
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
    for axis in (1, 2):  # SpecAugment: some bands, then some moments, are hidden
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
    length = torch.randint(0, 5, (len(pictures), 1), generator=draws)
    place = torch.arange(size)[None]
    mask = (place >= start) & (place < start + length)
    return pictures.masked_fill(mask.unsqueeze(3 - axis), 0.0)
