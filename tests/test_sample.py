"""The sample corpus: complete, deterministic, broken where it says so, and easy to search."""

import csv
import hashlib
import itertools
import subprocess
import sys
import warnings
import zlib
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image, ImageOps
from sklearn.feature_extraction.text import HashingVectorizer

from jobs.corpus.broken import BREAKAGES
from jobs.corpus.concepts import CONCEPTS
from jobs.sample import QUERIES, write_sample

MEDIA_COLUMNS = {"image": "photo", "text": "title", "audio": "sound", "video": "clip"}


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample")).parent


@pytest.fixture(scope="session")
def rows(sample):
    with (sample / "records.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def present(row):
    return frozenset(modality for modality, column in MEDIA_COLUMNS.items() if row[column])


def audio(path):
    """(N,) at 16 kHz, one channel, by libswresample."""
    resampler = av.AudioResampler("flt", "mono", 16000)
    with av.open(str(path)) as container:
        frames = [*container.decode(audio=0), None]
        pieces = [piece.to_ndarray()[0] for f in frames for piece in resampler.resample(f)]
    return np.concatenate(pieces)


def picture(path):
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


# -- what is in it


def test_the_corpus_has_every_concept_and_every_combination_of_modalities(rows):
    assert len(rows) == 264
    assert len({row["sku"] for row in rows}) == 264
    assert len(CONCEPTS) >= 12
    assert min(Counter(row["concept"] for row in rows).values()) >= 20
    subsets = Counter(present(row) for row in rows)
    everything = [frozenset(s) for n in range(5) for s in itertools.combinations(MEDIA_COLUMNS, n)]
    assert set(subsets) == set(everything)
    assert subsets[frozenset()] >= 3


def test_scalar_columns_are_filled(rows):
    assert all(float(row["price"]) > 0 for row in rows)
    assert {row["split"] for row in rows} == {"train", "valid", "test"}
    assert len({row["seller"] for row in rows}) > 4
    assert not any(row["concept"] in row["photo"] + row["sound"] + row["clip"] for row in rows)


def test_media_come_in_many_formats(sample):
    suffixes = Counter(path.suffix for path in sample.rglob("*") if path.parent != sample)
    for suffix in (".jpg", ".png", ".webp", ".wav", ".flac", ".ogg", ".mp4"):
        assert suffixes[suffix] >= 5
    turned, sizes = 0, set()
    for path in (sample / "photos").iterdir():
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                with Image.open(path) as image:
                    turned += image.getexif().get(0x0112, 1) != 1
                    sizes.add(image.size)
            except (OSError, Image.DecompressionBombError):
                continue  # one of the broken ones
    assert turned >= 5
    assert len(sizes) >= 6


def test_clips_move_and_some_have_no_sound(sample):
    silent = 0
    paths = sorted((sample / "clips").iterdir())[:40]
    for path in paths:
        try:
            container = av.open(str(path))
        except av.error.FFmpegError:
            continue  # one of the broken ones
        with container:
            silent += not container.streams.audio
            frames = [f.to_ndarray(format="gray").astype(float) for f in container.decode(video=0)]
        assert len(frames) >= 8
        assert np.abs(frames[0] - frames[len(frames) // 2]).mean() > 0.5
    assert 2 <= silent <= len(paths) / 2


def test_the_whole_sample_is_small(sample):
    assert sum(path.stat().st_size for path in sample.rglob("*") if path.is_file()) < 25e6


# -- what is broken in it


def opens(path, column):
    """Whether Pillow or FFmpeg can read something out of the file, to its end."""
    try:
        if column == "photo":
            picture(path).load()
            return True
        with av.open(str(path), options={"err_detect": "explode"}) as container:
            kind = {"sound": {"audio": 0}, "clip": {"video": 0}}[column]
            return sum(1 for _ in container.decode(**kind)) > 0
    except (OSError, IndexError, av.error.FFmpegError, Image.DecompressionBombError):
        return False


def test_exactly_the_announced_files_are_broken(sample, rows):
    broken = [
        (row["sku"], column, Path(row[column]).suffix)
        for row in rows
        for column in ("photo", "sound", "clip")
        if row[column] and not opens(sample / row[column], column)
    ]
    announced = Counter((MEDIA_COLUMNS[b.modality], b.suffix) for b in BREAKAGES)
    assert Counter((column, suffix) for _, column, suffix in broken) == announced
    others = [present(row) for row in rows if row["sku"] in {sku for sku, _, _ in broken}]
    assert {len(modalities) for modalities in others} == {1, 2}  # failed, and partial


def test_the_lying_png_has_a_valid_checksum(sample):
    headers = [path.read_bytes()[:33] for path in sample.rglob("*.png")]
    lying = [head for head in headers if int.from_bytes(head[16:20]) == 60_000]
    assert len(lying) == 1
    assert zlib.crc32(lying[0][12:29]) == int.from_bytes(lying[0][29:33])


# -- the same again


def test_two_processes_write_the_same_bytes(tmp_path):
    code = (
        "import sys; from pathlib import Path; from jobs.sample import write_sample;"
        "write_sample(Path(sys.argv[1]), records=60, seed=3)"
    )
    root = Path(__file__).parent.parent
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", code, tmp_path / name], check=True, cwd=root)
    first = digests(tmp_path / "a")
    assert len(first) > 45
    assert first == digests(tmp_path / "b")


def test_another_seed_gives_other_media(tmp_path):
    for seed in (0, 1):
        write_sample(tmp_path / str(seed), records=24, seed=seed)
    first, second = digests(tmp_path / "0"), digests(tmp_path / "1")
    same = [name for name in first if first[name] == second.get(name)]
    # Three of the broken files are the same whatever they were.
    assert all(name == "polyfuse.yaml" or Path(name).stem.startswith("S") for name in same)
    assert len(same) <= 4


def test_too_few_records_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at least 24, got 10"):
        write_sample(tmp_path, records=10)


# -- searching it, with descriptors of our own making


def look(image):
    """Mean colour and gradient orientations on a 4 x 4 grid."""
    pixels = np.asarray(image.resize((64, 64)), dtype=float)
    grey = pixels.mean(axis=2)
    down, across = np.gradient(grey)
    bins = ((np.arctan2(down, across) % np.pi) / np.pi * 8).astype(int) % 8
    strength = np.hypot(down, across)
    parts = []
    for y, x in itertools.product(range(0, 64, 16), repeat=2):
        cell = np.s_[y : y + 16, x : x + 16]
        orientations = np.bincount(bins[cell].ravel(), strength[cell].ravel(), minlength=8)
        parts += [orientations / 400, (pixels[cell].mean(axis=(0, 1)) - 128) / 128]
    return np.concatenate(parts)


def listen(samples):
    """Mean, spread and movement of 24 log-spaced bands, less the overall loudness."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::160]
    power = np.abs(np.fft.rfft(frames * np.hanning(512))) ** 2
    edges = np.geomspace(60, 7800, 25)
    which = np.digitize(np.fft.rfftfreq(512, 1 / 16000), edges)
    bands = np.stack([power[:, which == b].sum(axis=1) for b in range(1, 25)], axis=1)
    levels = np.log(bands + 1e-3)
    movement = np.abs(np.diff(levels, axis=0)).mean(axis=0)
    return np.concatenate([levels.mean(0) - levels.mean(), levels.std(0), movement])


def precision_at_5(vectors, labels):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1)[:, :5]
    return float((labels[nearest] == labels[:, None]).mean())


def described(sample, rows, modality):
    """(vectors, concepts) of the records whose medium of this modality can be read."""
    column = MEDIA_COLUMNS[modality]
    having = [
        row
        for row in rows
        if row[column] and (column == "title" or opens(sample / row[column], column))
    ]
    if modality == "text":
        hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=4096)
        vectors = hashing.transform([row["title"] for row in having]).toarray()
    elif modality == "image":
        vectors = np.stack([look(picture(sample / row[column])) for row in having])
    else:
        vectors = np.stack([listen(audio(sample / row[column])) for row in having])
    return vectors, np.array([row["concept"] for row in having])


@pytest.mark.parametrize("modality", ["image", "text", "audio"])
def test_plain_descriptors_find_the_same_concept(sample, rows, modality):
    vectors, labels = described(sample, rows, modality)
    assert len(labels) > 120
    precision = precision_at_5(vectors, labels)
    assert 0.9 <= precision
    # Distinct, yet no two alike: a corpus of copies would prove nothing.
    assert len(np.unique(vectors.round(6), axis=0)) > 0.95 * len(vectors)


def test_the_queries_are_new_and_find_their_concept(sample, rows):
    lines = (sample / "queries" / "queries.txt").read_text(encoding="utf-8").splitlines()
    queries = [tuple(line.split("\t")) for line in lines]
    assert [(modality, concept) for modality, concept, _ in queries] == list(QUERIES)
    in_corpus = set(digests(sample / "photos").values()) | set(digests(sample / "sounds").values())
    in_queries = set(digests(sample / "queries").values())
    assert not in_corpus & in_queries
    for modality, concept, value in queries:
        vectors, labels = described(sample, rows, modality)
        if modality == "text":
            assert value not in {row["title"] for row in rows}
            continue
        path = sample / "queries" / value
        query = look(picture(path)) if modality == "image" else listen(audio(path))
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        best = np.argsort(-(vectors @ query) / norms)[:5]
        assert list(labels[best]) == [concept] * 5


def test_the_configuration_is_yaml_that_names_the_table(sample):
    config = yaml.safe_load((sample / "polyfuse.yaml").read_text(encoding="utf-8"))
    assert (sample / config["source"]["path"]).exists()
    columns = {modality["column"] for modality in config["modalities"].values()}
    assert columns == set(MEDIA_COLUMNS.values())
