"""The pairs of a split as the batches a fusion trains on: 4 image components and 64 sound units."""

import concurrent.futures
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.avmnist import sounds
from benchmarks.avmnist.dataset import PARTS, SPEAKERS, Images, Pairs, Sounds, digest, pairs
from benchmarks.avmnist.sounds import VERSIONS
from fusion.batch import Batch

DIMS = {"image": 4, "sound": sounds.DIM}
UNSEEN = tuple(f"unseen-{speaker}" for speaker in SPEAKERS)


@dataclass(frozen=True)
class Fold:
    """One split. digest: of the content of its pairs."""

    name: str
    train: Batch
    valid: Batch
    test: Batch
    digest: str


def load(data: Path, cache: Path, names: tuple[str, ...] = UNSEEN, *, k: int = 4) -> list[Fold]:
    """The folds of these names; networks that are not in the cache yet are trained, two at a time.

    Raises:
        ValueError: an unknown split.
    """
    cache.mkdir(parents=True, exist_ok=True)
    images, clips = Images(data / "mnist"), Sounds(data / "fsdd")
    shown = torch.from_numpy(images.codes(k)).float()
    said = _features(clips, names, cache)
    folds = []
    for name in names:
        parts = pairs(images, clips, name)
        batches = {
            # A training clip is heard as one of its versions, in turn; the others as they are.
            part: _batch(parts[part], shown, said[name][part], VERSIONS if part == "train" else 1)
            for part in PARTS
        }
        folds.append(Fold(name, **batches, digest=digest(parts)))
    return folds


def _batch(own: Pairs, shown: Tensor, said: Tensor, versions: int) -> Batch:
    rows = len(own.label)
    heard = said[torch.arange(rows) % versions, own.sound]
    if not heard.isfinite().all():
        raise AssertionError("a clip was described by a network that knows it")
    features = {"image": shown[own.image], "sound": heard}
    present = {name: torch.ones(rows, dtype=torch.bool) for name in features}
    return Batch(features, present, torch.from_numpy(own.label))


def _features(clips: Sounds, names: tuple[str, ...], cache: Path) -> dict[str, dict[str, Tensor]]:
    """{split: {part: (6, 2400, 64)}}: each clip as the network describes it that must not know it."""
    wanted = {name: _networks(clips, name) for name in names}
    heard = {h.tobytes(): h for plan in wanted.values() for h, _, _ in plan}
    pictures = sounds.pictures(clips)
    # Spawned: a forked child would inherit torch's thread pool in an unknown state.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context, torch.set_num_threads, (1,)) as pool:
        jobs = {
            key: pool.submit(sounds.features, pictures, clips.labels, own, cache)
            for key, own in heard.items()
        }
        found = {key: torch.from_numpy(job.result()) for key, job in jobs.items()}
    result = {}
    for name, plan in wanted.items():
        shape = (sounds.VERSIONS, len(clips.labels), sounds.DIM)
        tables = {part: torch.full(shape, torch.nan) for part in PARTS}
        for heard_rows, parts, rows in plan:
            for part in parts:
                tables[part][:, rows] = found[heard_rows.tobytes()][:, rows]
        result[name] = tables
    return result


def _networks(clips: Sounds, split: str) -> list[tuple[np.ndarray, tuple[str, ...], np.ndarray]]:
    """(clips a network hears, parts and clips it describes) for a split.

    Unseen speakers: without the test speaker and one other it describes that other, training and
    validation clips alike, and all five together describe the test speaker. The network without
    speakers a and b serves both folds: 21 networks for six folds. Seen speakers: thirds of the
    training recordings describe each other; together they describe the rest.
    """
    parts = clips.part(split)
    if split == "seen":
        known, group = np.isin(np.arange(len(clips.labels)), parts["train"]), clips.takes % 3
        described: tuple[str, ...] = ("train",)
        rest = np.flatnonzero(~known)
    else:
        known, group = clips.speakers != split.removeprefix("unseen-"), clips.speakers
        described = ("train", "valid")
        rest = parts["test"]
    plan: list[tuple[np.ndarray, tuple[str, ...], np.ndarray]] = [
        (np.flatnonzero(known & (group != g)), described, np.flatnonzero(known & (group == g)))
        for g in np.unique(group[known])
    ]
    later = tuple(part for part in PARTS if part not in described)
    return [*plan, (np.flatnonzero(known), later, rest)]
