"""Write the sample corpus: a table of records, their media, a configuration, three queries.

    polyfuse sample demo && polyfuse run demo/polyfuse.yaml

Every combination of present and missing modalities occurs, and so do a few broken files, because a
corpus without them teaches nothing about a real one.
"""

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.corpus import media
from jobs.corpus.broken import BREAKAGES, Breakage, spoil
from jobs.corpus.captions import caption
from jobs.corpus.concepts import CONCEPTS, Concept

MODALITIES = ("image", "text", "audio", "video")
COLUMNS = ("sku", "title", "photo", "sound", "clip", "concept", "price", "seller", "split")
QUERIES = (("image", "siren"), ("audio", "bird"), ("text", "rain"))

_SUBSETS = tuple(
    frozenset(subset) for size in range(1, 5) for subset in itertools.combinations(MODALITIES, size)
)
# Besides each subset once, most things come with several media, as in a real catalogue.
_PATTERNS = (*_SUBSETS, *(subset for subset in _SUBSETS if len(subset) >= 3), _SUBSETS[-1])
_ABSENT = 4
_FOLDERS = {"image": "photos", "audio": "sounds", "video": "clips"}
_QUERY_STREAM = 1 << 20  # beyond the number of any record, so that a query is in no corpus

_CONFIG = """\
# Runs the sample from end to end without downloading a model:  polyfuse run FOLDER/polyfuse.yaml
source:
  path: records.csv
  id: sku
  types: {{price: float}}         # CSV columns are strings unless typed

modalities:                     # an empty cell is absent, not an error
  image: {{kind: image, column: photo, encoder: {{name: hog-colour}}}}
  text:  {{kind: text,  column: title, encoder: {{name: hashed-ngrams}}}}
  audio: {{kind: audio, column: sound, encoder: {{name: logmel-stats}}}}
  video:
    kind: video
    column: clip
    frames: {{every: 0.5, max: 8, encoder: {{name: hog-colour}}}}
    sound: {{encoder: {{name: logmel-stats}}}}

# The encoders above are classical descriptors: a baseline. Learned ones, fetched from the hub or
# read from a local folder, go in the same places:
#   image: encoder: {{name: transformers, model: facebook/dinov2-small, pooling: cls}}
#   text:  encoder: {{name: transformers, model: sentence-transformers/all-MiniLM-L6-v2}}
#   audio: encoder: {{name: yamnet, weights: yamnet.safetensors}}

output: runs/sample
models:
  concat: {{name: concat}}        # unit vectors side by side; a missing modality changes nothing

# {broken} of the {records} records point at broken files, on purpose; `polyfuse status` lists them.
"""


@dataclass(frozen=True)
class _Plan:
    """What one record will hold."""

    concept: Concept
    present: frozenset[str]
    breakage: Breakage | None = None


def write_sample(folder: Path, *, records: int = 264, seed: int = 0) -> Path:
    """Write the corpus and return the path of its configuration, FOLDER/polyfuse.yaml.

    The same `records` and `seed` give the same bytes in every file, on one machine and with the
    same library versions. Files of an earlier sample are overwritten; nothing else is touched.

    Raises:
        ValueError: too few records for every concept to appear.
    """
    fewest = len(CONCEPTS) + len(BREAKAGES) + _ABSENT
    if records < fewest:
        raise ValueError(f"records: expected at least {fewest}, got {records}")
    for name in (*_FOLDERS.values(), "queries"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = [
        _write_record(folder, number, plan, np.random.default_rng([seed, number]))
        for number, plan in enumerate(_plans(records, seed))
    ]
    with (folder / "records.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    _write_queries(folder / "queries", seed)
    config = folder / "polyfuse.yaml"
    text = _CONFIG.format(broken=len(BREAKAGES), records=records)
    config.write_text(text, encoding="utf-8")
    return config


def _plans(records: int, seed: int) -> list[_Plan]:
    """The records in a random order; the broken ones lie spread over the second half."""
    sound = records - len(BREAKAGES) - _ABSENT
    plans = [
        _Plan(CONCEPTS[i % len(CONCEPTS)], _PATTERNS[i // len(CONCEPTS) % len(_PATTERNS)])
        for i in range(sound)
    ]
    plans += [_Plan(CONCEPTS[i % len(CONCEPTS)], frozenset()) for i in range(_ABSENT)]
    np.random.default_rng([seed, records]).shuffle(plans)
    step = (records - records // 2) // len(BREAKAGES)
    for number, breakage in enumerate(BREAKAGES):
        # Half of them have nothing else, so that both partial and failed records occur.
        others = {"text"} if number % 2 else set()
        concept = CONCEPTS[(5 * number) % len(CONCEPTS)]
        plan = _Plan(concept, frozenset({breakage.modality, *others}), breakage)
        plans.insert(records // 2 + number * step, plan)
    return plans


def _write_record(
    folder: Path, number: int, plan: _Plan, rng: np.random.Generator
) -> dict[str, str]:
    """Write the media of one record; its row of the table."""
    sku = f"S{number:04d}"
    row = dict.fromkeys(COLUMNS, "") | {
        "sku": sku,
        "concept": plan.concept.name,
        "price": f"{plan.concept.price * float(rng.lognormal(0, 0.25)):.2f}",
        "seller": f"seller-{int(rng.integers(1, 9))}",
        "split": str(rng.choice(["train", "valid", "test"], p=[0.7, 0.1, 0.2])),
    }
    text_rng, *media_rngs = rng.spawn(4)
    if "text" in plan.present:
        row["title"] = caption(text_rng, plan.concept.wording)
    for (modality, column), media_rng in zip(
        (("image", "photo"), ("audio", "sound"), ("video", "clip")), media_rngs, strict=True
    ):
        if modality in plan.present:
            broken = plan.breakage if plan.breakage and plan.breakage.modality == modality else None
            stem = folder / _FOLDERS[modality] / sku
            path = _write_medium(stem, modality, plan.concept, media_rng, broken)
            row[column] = f"{path.parent.name}/{path.name}"
    return row


def _write_medium(
    stem: Path,
    modality: str,
    concept: Concept,
    rng: np.random.Generator,
    broken: Breakage | None,
) -> Path:
    chance = rng.random()
    if modality == "image":
        suffix = broken.suffix if broken else str(rng.choice(media.PICTURE_FORMATS))
        path = stem.with_suffix(suffix)
        media.write_picture(path, concept, rng, turned=chance < 0.15 and not broken)
    elif modality == "audio":
        fitting = [f for f in media.SOUND_FORMATS if not broken or f.suffix == broken.suffix]
        sound_format = fitting[rng.integers(len(fitting))]
        path = stem.with_suffix(sound_format.suffix)
        media.write_sound(path, concept, rng, sound_format)
    else:
        path = stem.with_suffix(".mp4")
        media.write_clip(path, concept, rng, silent=chance < 0.2 and not broken)
    if broken:
        spoil(path, broken)
    return path


def _write_queries(folder: Path, seed: int) -> None:
    """Media and a sentence that no record has; queries.txt: modality, concept, file or text."""
    lines = [
        f"{modality}\t{name}\t{_write_query(folder, modality, name, rng)}\n"
        for (modality, name), rng in zip(QUERIES, _query_rngs(seed), strict=True)
    ]
    (folder / "queries.txt").write_text("".join(lines), encoding="utf-8")


def _query_rngs(seed: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng([seed, _QUERY_STREAM + n]) for n in range(len(QUERIES)))


def _write_query(folder: Path, modality: str, name: str, rng: np.random.Generator) -> str:
    """Write the query's medium; its file name, or the sentence itself."""
    concept = next(concept for concept in CONCEPTS if concept.name == name)
    if modality == "text":
        return caption(rng, concept.wording)
    if modality == "image":
        path = folder / "picture.jpg"
        media.write_picture(path, concept, rng, turned=False)
    else:
        path = folder / "sound.wav"
        media.write_sound(path, concept, rng, media.SOUND_FORMATS[0])
    return path.name
