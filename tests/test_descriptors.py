"""The classical descriptors: the same everywhere, steady under harmless changes, useful.

The quality bars lie a little under what was measured (docs/encoders.md), far above chance.
"""

import csv
import io
import os
import subprocess
import sys
import tarfile

import av
import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

import encoders
from encoders.base import EncoderSpec
from encoders.media.errors import MediaError, Reason
from encoders.media.types import Image, Waveform


def encode(kind: str, name: str, items: list, **options) -> np.ndarray:
    encoder = encoders.build(EncoderSpec(kind, name, options))
    vectors = encoder.encode(encoder.prepare(items))
    assert vectors.shape == (len(items), encoder.dim)
    assert vectors.dtype == np.float32
    assert encoder.identity.dim == encoder.dim
    return vectors


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def one_nearest(vectors: np.ndarray, classes: np.ndarray, query: np.ndarray | None = None) -> float:
    """Share of (query) rows whose nearest other (non-query) row is of their class."""
    similar = cosines(vectors)
    np.fill_diagonal(similar, -2)
    if query is not None:
        similar = np.where(query, -2, similar)[query]
    found = classes[similar.argmax(axis=1)]
    return float((found == (classes if query is None else classes[query])).mean())


def picture(seed: int = 0, height: int = 120, width: int = 160) -> Image:
    """Random smooth blobs: has edges and colours at all scales."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = PIL.Image.fromarray(noise).resize((width, height), PIL.Image.Resampling.BICUBIC)
    return Image(np.asarray(smooth).copy())


def sound(seed: int = 0, seconds: float = 2.0, rate: int = 16_000) -> Waveform:
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * f * time) for f in random.uniform(200, 3_000, 3))
    beat = 0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(1, 8) * time)
    return Waveform((0.2 * tones * beat).astype("f4"), rate)


ITEMS = {
    ("image", "hog-colour"): [picture(0), picture(1), picture(2, 33, 200)],
    ("text", "hashed-ngrams"): ["a small dog", "Zwölf Boxkämpfer jagen", "東京 と 大阪"],
    ("audio", "logmel-stats"): [sound(0), sound(1), sound(2, 0.01)],
    ("audio", "logmel"): [sound(0), sound(1), sound(2, 0.01)],
}


@pytest.mark.parametrize(("kind", "name"), ITEMS)
def test_rows_are_independent_and_holes_are_zero(kind: str, name: str) -> None:
    encoder = encoders.build(EncoderSpec(kind, name))
    prepared = encoder.prepare(ITEMS[kind, name])
    whole = encoder.encode(prepared)
    assert np.isfinite(whole).all()
    assert all(encoder.cost(item) >= 1 for item in prepared)
    holed = encoder.encode([None, prepared[1], None])
    np.testing.assert_array_equal(holed[1], whole[1])
    assert not holed[[0, 2]].any()
    assert encoder.encode([]).shape == (0, encoder.dim)


_PRINT_VECTORS = """
import hashlib, sys
import numpy as np
import encoders
from encoders.base import EncoderSpec
from encoders.media.types import Image, Waveform
random = np.random.default_rng(5)
items = {
    ("image", "hog-colour"): Image(random.integers(0, 256, (50, 70, 3), dtype=np.uint8)),
    ("text", "hashed-ngrams"): "The quick brown fox, twice: the quick brown fox",
    ("audio", "logmel-stats"): Waveform(random.uniform(-1, 1, 9000).astype("f4"), 44_100),
    ("categorical", "hashed-category"): "red",
}
for (kind, name), item in items.items():
    encoder = encoders.build(EncoderSpec(kind, name))
    vector = encoder.encode(encoder.prepare([item]))
    print(name, hashlib.sha256(vector.tobytes()).hexdigest())
assert "torch" not in sys.modules, "a descriptor must start without torch"
"""


def test_every_process_gives_the_same_bytes_and_none_loads_torch() -> None:
    runs = {
        subprocess.run(
            [sys.executable, "-c", _PRINT_VECTORS],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    assert runs.pop().count("\n") == 4


def test_hog_colour_knows_a_picture_at_another_size_and_brightness() -> None:
    original = picture(0, 240, 320)
    larger = PIL.Image.fromarray(original.pixels).resize((500, 375))
    darker = (original.pixels * 0.8).astype(np.uint8)
    vectors = encode(
        "image",
        "hog-colour",
        [original, Image(np.asarray(larger)), Image(darker), picture(1, 240, 320)],
    )
    similar = cosines(vectors)[0]
    assert similar[1] > 0.99
    assert similar[2] > 0.9
    assert similar[3] < min(similar[1], similar[2]) - 0.05


def test_hog_colour_tells_orientation_and_colour() -> None:
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[::8] = stripes[1::8] = 255
    red = np.zeros((96, 96, 3), np.uint8) + np.array([200, 30, 30], np.uint8)
    blue = red[..., ::-1].copy()
    turned = stripes.swapaxes(0, 1).copy()
    vectors = encode("image", "hog-colour", [Image(p) for p in (stripes, turned, red, blue)])
    similar = cosines(vectors)
    assert similar[0, 1] < 0.6
    assert similar[2, 3] < 0.6


@pytest.mark.parametrize("shape", [(1, 1), (1, 3_000), (2, 2)])
def test_hog_colour_takes_any_shape(shape: tuple[int, int]) -> None:
    [vector] = encode("image", "hog-colour", [Image(np.full((*shape, 3), 128, np.uint8))])
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_hog_colour_on_photos(data) -> None:
    pictures, classes = [], []
    with tarfile.open(data / "photos/caltech101/caltech101.tar") as archive:
        for member in archive:
            if member.isfile():
                photo = PIL.Image.open(io.BytesIO(archive.extractfile(member).read()))
                pictures.append(Image(np.asarray(photo.convert("RGB"))))
                classes.append(member.name.partition("/")[0])
    assert len(set(classes)) == 51
    vectors = encode("image", "hog-colour", pictures)
    assert one_nearest(vectors, np.array(classes)) >= 0.45  # chance: 0.02


def test_hashed_ngrams_ignores_case_form_and_spacing() -> None:
    vectors = encode("text", "hashed-ngrams", ["ﬁne  Café", "FINE cafe\u0301\n", "something else"])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert abs(cosines(vectors)[0, 2]) < 0.2


def test_hashed_ngrams_forgives_a_typing_error_and_sees_word_order() -> None:
    texts = [
        "my card has not arrived yet",
        "my card has not arived yet",
        "yet arrived not has card my",
    ]
    similar = cosines(encode("text", "hashed-ngrams", texts))[0]
    assert similar[1] > 0.8
    assert 0.7 < similar[2] < 0.999


@pytest.mark.parametrize("text", ["", " \n\t ", "\u3000"])
def test_empty_texts(text: str) -> None:
    encoder = encoders.build(EncoderSpec("text", "hashed-ngrams"))
    with pytest.raises(MediaError) as caught:
        encoder.prepare([text])
    assert caught.value.reason is Reason.EMPTY


def test_hashed_ngrams_dim_is_an_option() -> None:
    assert encode("text", "hashed-ngrams", ["a", "!", "🙂", "\ud800"], dim=300).shape == (4, 300)
    with pytest.raises(ValueError, match="expected a positive dim, got 0"):
        encode("text", "hashed-ngrams", ["a"], dim=0)


def test_hashed_ngrams_on_intents_and_captions(data) -> None:
    with open(data / "text/banking77/banking77.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if row["split"] == "train"][::3] + [
        row for row in rows if row["split"] == "test"
    ]
    vectors = encode("text", "hashed-ngrams", [row["text"] for row in rows])
    query = np.array([row["split"] == "test" for row in rows])
    assert one_nearest(vectors, np.array([row["label"] for row in rows]), query) >= 0.75

    with open(data / "text/sts_captions/sts_captions.csv", encoding="utf-8") as file:
        pairs = list(csv.DictReader(file))
    one, other = (
        encode("text", "hashed-ngrams", [pair[key] for pair in pairs])
        for key in ("sentence1", "sentence2")
    )
    ranks = [
        np.unique(values, return_inverse=True)[1]
        for values in ((one * other).sum(axis=1), [float(pair["score"]) for pair in pairs])
    ]
    assert np.corrcoef(*ranks)[0, 1] >= 0.5


@pytest.mark.parametrize("name", ["logmel-stats", "logmel"])
def test_silence_and_single_samples_are_finite(name: str) -> None:
    silent = [Waveform(np.zeros(n, "f4"), 44_100) for n in (1, 100, 44_100)]
    assert not encode("audio", name, silent).any()
    with pytest.raises(MediaError) as caught:
        encode("audio", name, [Waveform(np.zeros(0, "f4"), 44_100)])
    assert caught.value.reason is Reason.EMPTY


def test_logmel_stats_knows_a_sound_at_another_rate_and_level() -> None:
    original = sound(0, 3.0, 16_000)
    faster = sound(0, 3.0, 44_100)
    quieter = Waveform(original.samples * 0.7, 16_000)
    similar = cosines(encode("audio", "logmel-stats", [original, faster, quieter, sound(1, 3.0)]))[
        0
    ]
    assert similar[1] > 0.99
    assert similar[2] > 0.98
    assert similar[3] < similar[1:3].min() - 0.05


def test_logmel_keeps_time_and_pads_with_silence() -> None:
    half = sound(0, 0.5)
    [vector] = encode("audio", "logmel", [half], frames=100)
    spectrogram = vector.reshape(100, 64)
    assert spectrogram[:48].any(axis=1).all()
    assert not spectrogram[48:].any()
    [longer] = encode("audio", "logmel", [half], frames=20)
    np.testing.assert_array_equal(longer.reshape(20, 64), spectrogram[:20])
    with pytest.raises(ValueError, match="expected at least one frame, got 0"):
        encode("audio", "logmel", [half], frames=0)


def test_logmel_stats_on_real_sounds(data) -> None:
    clips = pq.read_table(data / "esc10/esc10.parquet").to_pylist()
    sounds = []
    for clip in clips:
        with av.open(io.BytesIO(clip["audio"])) as container:
            frames = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
        sounds.append(Waveform(np.concatenate(frames), clip["sample_rate"]))
    vectors = encode("audio", "logmel-stats", sounds)
    query = np.array([clip["fold"] == 3 for clip in clips])
    classes = np.array([clip["class_name"] for clip in clips])
    assert one_nearest(vectors, classes, query) >= 0.75  # chance: 0.1
