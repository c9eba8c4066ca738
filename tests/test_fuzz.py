"""Two thousand mutated pictures, sounds and clips among as many intact ones; `make fuzz` tries more."""

from collections import Counter

import pytest

from chaos import fuzz, media

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]


def test_mutated_media_cost_themselves_and_their_neighbours_nothing(tmp_path):
    found = fuzz.Found()
    fuzz.attack(tmp_path, 2_000, seed=0, found=found)
    assert found.problems == []
    formats = {(kind, suffix) for kind, suffixes in media.KINDS.items() for suffix in suffixes}
    assert set(found.outcomes) == formats
    counted = sum(found.outcomes.values(), start=Counter())
    assert counted.total() == 2_000
    assert counted["nothing"] == counted["CRASH"] == 0
    assert (
        200 < counted["vector"] < 1_800
    )  # mutations that spare everything, or nothing, try little
