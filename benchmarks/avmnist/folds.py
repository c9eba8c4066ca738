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


@dataclass(frozen=True)
class Network:
    """The clips a network is trained on, and those of each part it describes; never the same clip."""

    heard: np.ndarray
    describes: dict[str, np.ndarray]


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
    wanted = {name: networks(clips, name) for name in names}
    heard = {network.heard.tobytes(): network.heard for plan in wanted.values() for network in plan}
    pictures = sounds.pictures(clips)
    # Spawned: a forked child would inherit torch's thread pool in an unknown state.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context, torch.set_num_threads, (1,)) as pool:
        jobs = {
            key: pool.submit(sounds.features, pictures, clips.labels, own, cache)
            for key, own in heard.items()
        }
        found = {key: torch.from_numpy(job.result()) for key, job in jobs.items()}
    return {name: _tables(plan, found) for name, plan in wanted.items()}


def _tables(plan: list[Network], found: dict[bytes, Tensor]) -> dict[str, Tensor]:
    """{part: (6, 2400, 64)}: the mean of the networks that describe a clip, NaN where none does."""
    any_table = next(iter(found.values()))
    tables = {}
    for part in PARTS:
        total, count = torch.zeros_like(any_table), torch.zeros(any_table.shape[1])
        for network in plan:
            rows = network.describes[part]
            total[:, rows] += found[network.heard.tobytes()][:, rows]
            count[rows] += 1
        tables[part] = total / count[:, None]
    return tables


def networks(clips: Sounds, split: str) -> list[Network]:
    """The networks of a split: each leaves out one group of the clips that may be known.

    A network describes the group it left out, for training and validation, and what nobody may know,
    which so is described by several: their mean is a better ear than each, and speaks the language
    the fusion has learned from all of them. Unseen speakers: the groups are the other five, and the
    network without speakers a and b serves both folds: 15 networks for six folds. Seen speakers:
    thirds of the training recordings.
    """
    parts = clips.part(split)
    if split == "seen":
        known, group = np.isin(np.arange(len(clips.labels)), parts["train"]), clips.takes % 3
    else:
        known, group = clips.speakers != split.removeprefix("unseen-"), clips.speakers
    networks = []
    for own in np.unique(group[known]):
        left_out = known & (group == own)
        describes = {
            part: rows[left_out[rows] | ~known[rows]]  # all of a part that is never heard
            for part, rows in parts.items()
        }
        networks.append(Network(np.flatnonzero(known & ~left_out), describes))
    return networks
