"""Captions with varied wording: the same thing is said in many ways, and the filler says nothing.

No word is in every caption of a concept, and the openings, places and endings are shared by all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_OPENINGS = (
    "",
    "",
    "here",
    "listen:",
    "close-up of",
    "a recording of",
    "an afternoon with",
    "again",
)
_PLACES = (
    "near the market",
    "at home",
    "by the old road",
    "in the morning",
    "after dark",
    "outside",
)
_ENDINGS = ("", "", "", "seen from afar", "take two", "for the archive", "no filter", "very clear")


@dataclass(frozen=True)
class Wording:
    """The words of one concept: what it is called, what it does, and how it is described."""

    names: Sequence[str]
    actions: Sequence[str]
    details: Sequence[str]


def caption(rng: np.random.Generator, wording: Wording) -> str:
    """One caption, for example "close-up of a brass bell tolling slowly near the market"."""
    name, action, detail = (
        str(rng.choice(words)) for words in (wording.names, wording.actions, wording.details)
    )
    opening, place, ending = (str(rng.choice(part)) for part in (_OPENINGS, _PLACES, _ENDINGS))
    orders = (
        (opening, name, action, detail, place),
        (opening, detail, name, action),
        (place, name, detail, action),
        (name, action, "and", detail, ending),
    )
    words = " ".join(part for part in orders[rng.integers(len(orders))] if part)
    return words.capitalize() if rng.random() < 0.6 else words
