"""The generator: MNIST images of a few principal components, paired with recordings of the same digit.

"AV-MNIST" in the literature is several datasets from unpublished or faulty generators. This one is
deterministic and small: the pairs are an index file whose content has a fixed digest, so that two
people who quote a number quote it of the same data.

- Images: MNIST with k principal components left (4 by default; 3 and 5 are harder and easier),
  fitted on the first 55,000 training images alone, the mean put back. 55,000 / 5,000 / 10,000.
- Sounds: the Free Spoken Digit Dataset. `seen`: recordings 0-4 of every speaker are the test part
  (the official split), 5-9 validation. `unseen-<speaker>`: one speaker is the test part; of the
  others 0-4 are validation. No recording is in two parts.
- Pairs: every image once; the recordings of its digit in turn, shuffled anew each round, so that
  each is used as often as any other.
"""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from encoders.media.audio import decode_audio
from encoders.media.limits import Limits
from encoders.media.types import Waveform

PARTS = ("train", "valid", "test")
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
SPLITS = ("seen", *(f"unseen-{speaker}" for speaker in SPEAKERS))
SEED = 0
# sha256 of the content of each split's pairs (seed 0): another number is another dataset.
DIGESTS = {
    "seen": "d75a6205d0fe4b163d3d2b6a4e216201fc0ab46699b78a78fdbc296480ba569b",
    "unseen-george": "637ee2c2a24cc93650631b9e82ee35eacbcdaa1744b2b8bbe7768cb1d1949cbf",
    "unseen-jackson": "093c9e51a52df960d4fd72abd23601df28e516d7c14dc973e70a2851078bc3ce",
    "unseen-lucas": "64dc760f3125fa74bf5b1c4a1b9e898e66d99776044828a8049937650033bfb8",
    "unseen-nicolas": "45639e29d2a01b55dc77aadf9380ae0eba8e417ca93b5be2db3002f104392479",
    "unseen-theo": "4f63ea9f27574c9f35d522c10d21fc6aa0cefbdd10d83a6a1c395cd2d9c4d1de",
    "unseen-yweweler": "795b907401c9b45ffde7fcf6a21c947eb9f0bd215a175851547388391770fbca",
}
FITTED, IMAGES = (
    55_000,
    60_000,
)  # images the components are fitted on, and images before the test part


class Images:
    """70,000 digits, the training set before the test set; pixels: (70000, 784) bytes."""

    def __init__(self, folder: Path) -> None:
        train, test = (idx(folder / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
        self.pixels = np.concatenate([train, test]).reshape(-1, 784)
        labels = (idx(folder / f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k"))
        self.labels = np.concatenate(list(labels)).astype(np.int64)
        self.mean = self.pixels[:FITTED].mean(axis=0) / 255

    @cached_property
    def components(self) -> np.ndarray:
        """All 784 principal components of the images they are fitted on, the largest first."""
        scatter = sum(block.T @ block for block in self._centred(FITTED))
        vectors = np.linalg.eigh(scatter)[1][:, ::-1].T
        largest = np.abs(vectors).argmax(axis=1)
        # An eigenvector has no sign of its own: the largest entry is made positive.
        return vectors * np.sign(vectors[np.arange(len(vectors)), largest])[:, None]

    def codes(self, k: int = 4) -> np.ndarray:
        """The first k principal components of every image. (70000, k)"""
        kept = self.components[:k].T
        return np.concatenate([block @ kept for block in self._centred(len(self.pixels))])

    def shown(self, rows: np.ndarray, k: int = 4) -> np.ndarray:
        """The images the dataset shows: k components and the mean. (len(rows), 28, 28), nearly in [0, 1]"""
        images = self.codes(k)[rows] @ self.components[:k] + self.mean
        return images.reshape(-1, 28, 28)

    def _centred(self, count: int) -> Iterator[np.ndarray]:
        """The first images in [0, 1] around the mean, 5,000 at a time: all at once are half a gigabyte."""
        for start in range(0, count, 5_000):
            yield self.pixels[start : min(start + 5_000, count)] / 255 - self.mean


class Sounds:
    """2,400 recordings by path; labels (2400,), speakers (2400,) names, takes (2400,) 0 to 39."""

    def __init__(self, folder: Path) -> None:
        rows = pq.read_table(folder / "fsdd.parquet").sort_by("path").to_pylist()
        self._files = [row["wav"] for row in rows]
        self.labels = np.array([row["label"] for row in rows], np.int64)
        self.speakers = np.array([row["speaker"] for row in rows])
        self.takes = np.array([row["index"] for row in rows], np.int64)

    def waveforms(self) -> list[Waveform]:
        """Decoded."""
        return [decode_audio(file, Limits()) for file in self._files]

    def part(self, split: str) -> dict[str, np.ndarray]:
        """The recordings of each part of a split, as row numbers."""
        if split == "seen":
            test, valid = self.takes < 5, (self.takes >= 5) & (self.takes < 10)
        else:
            test = self.speakers == split.removeprefix("unseen-")
            valid = ~test & (self.takes < 5)
        return {
            "train": np.flatnonzero(~test & ~valid),
            "valid": np.flatnonzero(valid),
            "test": np.flatnonzero(test),
        }


@dataclass(frozen=True)
class Pairs:
    """One part of a split: image[i] and sound[i] are row numbers that show the digit label[i]."""

    image: np.ndarray
    sound: np.ndarray
    label: np.ndarray


def pairs(images: Images, sounds: Sounds, split: str, *, seed: int = SEED) -> dict[str, Pairs]:
    """The pairs of a split by part; the same everywhere and for ever.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    shown = dict(zip(PARTS, np.split(np.arange(len(images.labels)), [FITTED, IMAGES]), strict=True))
    said = sounds.part(split)
    # The generator whose stream numpy has promised never to change.
    draws = np.random.RandomState(seed)
    return {part: _paired(images, sounds, shown[part], said[part], draws) for part in PARTS}


def _paired(
    images: Images,
    sounds: Sounds,
    shown: np.ndarray,
    said: np.ndarray,
    draws: np.random.RandomState,
) -> Pairs:
    label = images.labels[shown]
    sound = np.empty_like(shown)
    for digit in range(10):
        places = np.flatnonzero(label == digit)
        own = said[sounds.labels[said] == digit]
        rounds = [draws.permutation(own) for _ in range(-(-len(places) // len(own)))]
        sound[places] = np.concatenate(rounds)[: len(places)]
    return Pairs(shown, sound, label)


def digest(parts: dict[str, Pairs]) -> str:
    """sha256 over the content of the pairs, whatever file they lie in."""
    content = hashlib.sha256()
    for part in PARTS:
        for column in (parts[part].label, parts[part].image, parts[part].sound):
            content.update(column.astype("<i4").tobytes())
    return content.hexdigest()


def write_index(parts: dict[str, Pairs], path: Path) -> str:
    """The pairs as a CSV (part, label, image, sound); gives the digest of their content."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("part,label,image,sound\n")
        for part in PARTS:
            own = parts[part]
            for row in zip(own.label, own.image, own.sound, strict=True):
                file.write("{},{},{},{}\n".format(part, *row))
    return digest(parts)


def idx(path: Path) -> np.ndarray:
    """A file of the MNIST format: a header of big-endian numbers, then bytes."""
    raw = gzip.decompress(path.read_bytes())
    axes = raw[3]
    shape = np.frombuffer(raw, ">i4", axes, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)
