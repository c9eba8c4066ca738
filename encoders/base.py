"""The contract every encoder meets, and the small picklable things that travel instead of models.

A job plans with specs and identities; only a worker builds the encoder. Letters in shapes:
B items, D dimensions of the vector.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

Decoded = Any  # Image | Waveform | str | np.ndarray | float: what the modality's kind decodes to
Prepared = Any  # whatever the encoder's own `prepare` made of it


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder to build: the kind of input, the name in `ENCODERS`, its options. Picklable."""

    kind: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """What makes two vectors comparable; known without loading the weights into a model.

    encoder: catalogue name; dim: length of the vector; weights: sha256 of the weight files, or ""
    where there are none; settings: everything else that changes the vector (digests of a model's
    configuration and tokenizer, preprocessing, pooling, window, tail policy, normalisation).

    A model is known by its content, not by its hub id, revision or folder: a copy elsewhere gives
    the same identity, another revision with the same files too. Precision, device and versions
    are no part of it either: they are provenance.
    """

    encoder: str
    dim: int
    weights: str
    settings: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Sixteen hex digits over all fields."""
        text = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def least_side(self) -> int | None:
        """Pictures may be decoded smaller, but with no side shorter than this; None: as they are.

        A setting and no more, so that whoever decodes for these vectors, in a job, a retry or a
        search, does it alike.
        """
        return self.settings.get("least_side")


class Preparing(Protocol):
    """What reading and decoding for an encoder need of it."""

    identity: Identity

    def prepare(self, items: Sequence[Decoded]) -> list[Prepared]:
        """Decoded items -> model inputs on the CPU. An unusable item raises MediaError."""
        ...


class Encoder(Preparing, Protocol):
    """Raw items of one kind -> vectors. Built once per worker.

    `encode` may be given any number of items; None holds the place of an item that failed, and gives
    a zero row. It forms its own fixed-shape batches from the list, so the same list gives the same
    bytes, and a failed neighbour changes nothing.

    A network also has `batch`, a factor on the sizes of its batches, 1 by itself (see `gpu_batch`).
    """

    dim: int

    def cost(self, item: Prepared) -> int:
        """What batches are planned by: pixels, tokens or examples of this item."""
        ...

    def encode(self, batch: Sequence[Prepared | None]) -> np.ndarray:
        """Prepared items -> (B, D) float32."""
        ...
