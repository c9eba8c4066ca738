"""What happens to files on their way, and what somebody does to them on purpose."""

import struct
from collections.abc import Callable, Sequence

import numpy as np

_HEADER = 256  # bytes in which a mutation of lengths and counts lies
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def cut(raw: bytes, rng: np.random.Generator) -> bytes:
    """Ends too early."""
    return raw[: rng.integers(len(raw))]


def flip(raw: bytes, rng: np.random.Generator) -> bytes:
    """Single bits, anywhere."""
    changed = bytearray(raw)
    for place in rng.integers(0, len(raw), rng.integers(1, 30)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def header(raw: bytes, rng: np.random.Generator) -> bytes:
    """Bytes of the header become others."""
    changed = bytearray(raw)
    for place in rng.integers(0, min(len(raw), _HEADER), rng.integers(1, 8)):
        changed[place] = rng.integers(256)
    return bytes(changed)


def length(raw: bytes, rng: np.random.Generator) -> bytes:
    """A number of the header becomes huge, negative or zero."""
    size = int(rng.choice([1, 2, 4]))
    value = int(rng.choice(_EXTREMES)) & ((1 << 8 * size) - 1)
    form = rng.choice(["<", ">"]) + {1: "B", 2: "H", 4: "I"}[size]
    at = int(rng.integers(0, max(1, min(len(raw), _HEADER) - size)))
    return raw[:at] + struct.pack(form, value) + raw[at + size :]


def lost(raw: bytes, rng: np.random.Generator) -> bytes:
    """A stretch in the middle is missing."""
    start, end = sorted(rng.integers(0, len(raw), 2))
    return raw[:start] + raw[end:]


def zeroed(raw: bytes, rng: np.random.Generator) -> bytes:
    """A stretch was never written."""
    start, end = sorted(rng.integers(0, len(raw), 2))
    return raw[:start] + bytes(end - start) + raw[end:]


def doubled(raw: bytes, rng: np.random.Generator) -> bytes:
    """A stretch comes twice."""
    start, end = sorted(rng.integers(0, len(raw), 2))
    return raw[:end] + raw[start:end] + raw[end:]


def noise(raw: bytes, rng: np.random.Generator) -> bytes:
    """Only the first bytes are what they say."""
    kept = int(rng.integers(0, 32))
    return raw[:kept] + rng.bytes(max(0, len(raw) - kept))


MUTATIONS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    own.__name__: own for own in (cut, flip, header, length, lost, zeroed, doubled, noise)
}


def mutated(raw: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """One mutation, sometimes two, or the begin of one file with the end of another."""
    name = str(rng.choice([*MUTATIONS, "spliced"]))
    if name == "spliced":
        other = others[rng.integers(len(others))]
        return raw[: rng.integers(len(raw))] + other[rng.integers(len(other)) :]
    changed = MUTATIONS[name](raw, rng)
    if changed and rng.random() < 0.2:
        changed = flip(changed, rng)
    return changed
