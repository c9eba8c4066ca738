"""The generated records: texts, pictures, sounds, clips. The same seed gives the same files.

Pictures are cut from real photos (COCO) with noise of a camera, so that a JPEG is as hard to decode as
a real one; texts are passages of real articles, as many words as give the wanted number of tokens (of
words in random order neighbours mean little). Of large media a hundred files are made, and linked under
other names. Every corpus is a table, id and one column for each modality, beside the files that it names.
"""

import csv
import shutil
import sys
import tarfile
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

RATE = 16_000  # Hz, of sounds
SMALL = 8  # records of the corpus that a cold start is measured on
_MEDIAN, _SPREAD, _LONGEST = 40, 0.8, 512  # tokens; the spread is that of the logarithm
_FPS, _SECONDS = 30, 10  # of clips
GROUPS = 30, 250  # pictures, of clips in turn
_PHOTOS, _SOUNDS, _CLIPS = 96, 128, 48  # different files of large media
_NOISE = 3.0  # grey levels, standard deviation


def write(name: str, items: int, folder: Path, data: Path) -> Path:
    """A corpus of so many records, made in the folder where it is not there; its folder."""
    corpus = folder / f"{name}-{items}"
    if not (corpus / "table.csv").exists():
        shutil.rmtree(corpus, ignore_errors=True)
        corpus.mkdir(parents=True)
        rows = list(_GENERATORS[name](corpus, items, data))
        for table, part in (("small.csv", rows[:SMALL]), ("table.csv", rows)):
            write_table(corpus / table, part)
    return corpus


def write_table(table: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def like_all(rows: Sequence[Mapping[str, str]], count: int) -> list[Mapping[str, str]]:
    """So many of the records as cost about the mean of all: from groups of equal number by size, the
    middle one of each."""
    ordered = sorted(rows, key=_size)
    return [ordered[(2 * n + 1) * len(rows) // (2 * count)] for n in range(count)]


def _size(row: Mapping[str, str]) -> int:
    """Characters of text, and bytes of the files that are named."""
    named = row.keys() & {"image", "audio", "video"}
    return len(row.get("text", "")) + sum(Path(row[name]).stat().st_size for name in named)


# -- texts


def skewed_lengths(items: int, seed: int = 0) -> np.ndarray:
    """(items,) numbers of tokens, special ones included: log-normal, median 40, at most 512."""
    drawn = np.random.default_rng(seed).lognormal(np.log(_MEDIAN), _SPREAD, items)
    return np.clip(drawn.round(), 3, _LONGEST).astype(int)


def passages(lengths: np.ndarray, words: list[str], costs: np.ndarray) -> list[str]:
    """Passages of a text, one after the other: words whose costs (in tokens) add up to each length,
    but for the two special tokens. A word that costs more than is left is passed over.

    Some words must cost one token.
    """
    texts, place = [], 0
    for length in lengths:
        left, chosen = int(length) - 2, []
        while left > 0:
            cost = int(costs[place % len(words)])
            if cost <= left:
                chosen.append(words[place % len(words)])
                left -= cost
            place += 1
        texts.append(" ".join(chosen))
    return texts


def _texts(lengths: np.ndarray, data: Path) -> Iterator[dict[str, str]]:
    words, costs = _articles(data)
    for number, text in enumerate(passages(lengths, words, costs)):
        yield {"id": f"{number:06d}", "text": text}


@cache
def _articles(data: Path) -> tuple[list[str], np.ndarray]:
    """The words of real articles in their order, and what each costs in tokens."""
    from transformers import AutoTokenizer

    text = (data / "text/corpus/wikipedia_articles.txt").read_text(encoding="utf-8")
    words = [word for word in text.split() if word.isalpha()]
    different = sorted(set(words))
    tokenizer = AutoTokenizer.from_pretrained(data / "weights/hf/all-MiniLM-L6-v2")
    tokens = tokenizer(different, add_special_tokens=False)["input_ids"]
    cost = dict(zip(different, map(len, tokens), strict=True))
    return words, np.array([cost[word] for word in words])


# -- pictures


def _files(
    corpus: Path,
    items: int,
    column: str,
    suffix: str,
    make: Callable[[int, Path], None],
    distinct: int = sys.maxsize,
) -> Iterator[dict[str, str]]:
    """A file each; of large media only some are made, the others are links to them: the peers know a
    record by the name of its file."""
    folder = corpus / column
    folder.mkdir()
    for number in range(items):
        path = folder / f"{number:06d}.{suffix}"
        if number < distinct:
            make(number, path)
        else:
            path.hardlink_to(folder / f"{number % distinct:06d}.{suffix}")
        yield {"id": f"{number:06d}", column: str(path)}


def picture(photos: list[np.ndarray], number: int, width: int, height: int) -> PIL.Image.Image:
    """A part of a photo, half of it to all, scaled to a size, with noise."""
    rng = np.random.default_rng((1, number))
    photo = PIL.Image.fromarray(photos[int(rng.integers(len(photos)))])
    share = rng.uniform(0.5, 1.0)
    wide = share * min(photo.width, photo.height * width / height)
    high = wide * height / width
    left, top = rng.uniform(0, photo.width - wide), rng.uniform(0, photo.height - high)
    box = (left, top, left + wide, top + high)
    scaled = photo.resize((width, height), PIL.Image.Resampling.BICUBIC, box=box)
    # One channel of noise: that of a camera is correlated after its own processing.
    noise = rng.standard_normal((height, width, 1), dtype=np.float32) * _NOISE
    return PIL.Image.fromarray(np.clip(np.asarray(scaled) + noise, 0, 255).astype(np.uint8))


def _pictures(
    width: int, height: int, distinct: int = sys.maxsize
) -> Callable[..., Iterator[dict[str, str]]]:
    def generate(corpus: Path, items: int, data: Path) -> Iterator[dict[str, str]]:
        taken = photos(data)

        def make(number: int, path: Path) -> None:
            picture(taken, number, width, height).save(path, "JPEG", quality=90)

        return _files(corpus, items, "image", "jpg", make, distinct)

    return generate


@cache
def photos(data: Path) -> list[np.ndarray]:
    with tarfile.open(data / "photos/coco_captions/coco_captions.tar") as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        files = [archive.extractfile(member) for member in members if member.name.endswith(".jpg")]
        return [np.asarray(PIL.Image.open(file).convert("RGB")) for file in files]


# -- sounds and clips


def sound(number: int) -> np.ndarray:
    """(samples,) int16 of 3 to 60 s: a gliding tone with harmonics in falling noise."""
    rng = np.random.default_rng((2, number))
    seconds = float(np.exp(rng.uniform(np.log(3), np.log(60))))
    time = np.arange(int(seconds * RATE)) / RATE
    start, end = np.exp(rng.uniform(np.log(100), np.log(3000), 2))
    phase = 2 * np.pi * (start * time + (end - start) * time**2 / (2 * seconds))
    tone = sum(np.sin(harmonic * phase) / harmonic for harmonic in (1, 2, 3))
    noise = rng.standard_normal(len(time)) * np.exp(-time / seconds) * rng.uniform(0.05, 1)
    wanted = 0.25 * tone * rng.uniform(0.2, 1) + 0.1 * noise
    return (np.clip(wanted, -1, 1) * 32767).astype(np.int16)


def mean_seconds(table: Path) -> float:
    """Of the sounds that a table names."""
    lengths = []
    for row in read(table):
        with wave.open(row["audio"], "rb") as file:
            lengths.append(file.getnframes() / file.getframerate())
    return sum(lengths) / len(lengths)


def _sounds(corpus: Path, items: int, _: Path) -> Iterator[dict[str, str]]:
    def make(number: int, path: Path) -> None:
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(sound(number).tobytes())

    return _files(corpus, items, "audio", "wav", make, _SOUNDS)


def clip(photo: PIL.Image.Image, path: Path, *, group: int, seconds: int) -> None:
    """H.264 1280x720 in groups of so many pictures: the camera moves across a photo of 1600x900."""
    import av

    large = np.asarray(photo)
    right, down = large.shape[1] - 1280, large.shape[0] - 720
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=_FPS)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.time_base = Fraction(1, _FPS)
        stream.options = {"preset": "veryfast", "g": str(group)}
        for n in range(_FPS * seconds):
            x, y = _there_and_back(n, right), _there_and_back(n // 2, down)
            window = large[y : y + 720, x : x + 1280]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(window, "rgb24")))
        container.mux(stream.encode(None))


def _there_and_back(step: int, most: int) -> int:
    """0 to most and back to 0: a jump would be a scene of its own, which begins a group."""
    return most - abs(most - step % (2 * most))


def _clips(corpus: Path, items: int, data: Path) -> Iterator[dict[str, str]]:
    taken = photos(data)

    def make(number: int, path: Path) -> None:
        photo = picture(taken, number, 1600, 900)
        clip(photo, path, group=GROUPS[number % 2], seconds=_SECONDS)

    return _files(corpus, items, "video", "mp4", make, _CLIPS)


def _mixed(corpus: Path, items: int, data: Path) -> Iterator[dict[str, str]]:
    parts = zip(
        _texts(skewed_lengths(items), data),
        _pictures(500, 375)(corpus, items, data),
        _sounds(corpus, items, data),
        strict=True,
    )
    for text, image, audio in parts:
        yield {**text, **image, **audio}


_GENERATORS: dict[str, Callable[[Path, int, Path], Iterator[dict[str, str]]]] = {
    "skewed_texts": lambda _, items, data: _texts(skewed_lengths(items), data),
    "uniform_texts": lambda _, items, data: _texts(np.full(items, 128), data),
    "pictures": _pictures(500, 375),
    "photos": _pictures(4000, 3000, _PHOTOS),
    "sounds": _sounds,
    "clips": _clips,
    "mixed": _mixed,
}
