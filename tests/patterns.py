"""Small fusions of any kind, and batches that hold every presence pattern, for their tests."""

import dataclasses
import itertools

import torch

# Different lengths; names torch would refuse as keys; not in alphabetical order.
DIMS = {"video.frames": 5, "type": 3, "image": 4, "sound": 6}

CLASSES = 3
# What options can't be built without, what must agree with the targets, what would take long.
OPTIONS = {"classes": CLASSES, "sketch": 1024, "inner": 4}


def options_of(found):
    """Of an options dataclass."""
    return {f.name: OPTIONS[f.name] for f in dataclasses.fields(found) if f.name in OPTIONS}


def first(count):
    """The first few features."""
    return dict(itertools.islice(DIMS.items(), count))


def every_pattern(dims, repeat=1, seed=0, dtype=torch.float32):
    """(features, present): `repeat` records of each of the 2^M patterns, random values throughout."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.tensor(list(itertools.product([False, True], repeat=len(dims))) * repeat)
    features = {n: torch.randn(len(table), d, generator=generator) for n, d in dims.items()}
    present = {name: table[:, i].clone() for i, name in enumerate(dims)}
    return {n: x.to(dtype) for n, x in features.items()}, present


def spoil(features, present, filler):
    """The same records with something else where a feature is absent."""
    return {n: torch.where(present[n][..., None], x, filler) for n, x in features.items()}
