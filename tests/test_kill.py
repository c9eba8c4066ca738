"""SIGKILL at random moments of real runs: rerunning gives the bytes of an undisturbed run."""

import pytest

from chaos import kills, sound
from chaos.in_process import without_ray
from pipeline import config as configuration
from pipeline.run import run

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def test_kills_at_random_moments_change_no_byte(tmp_path):
    found, attacked = kills.Found(), kills.prepare(tmp_path / "attacked", records=160)
    kills.attack(attacked, 20, seed=0, found=found, say=print)
    assert found.problems == []
    assert found.killed.total() >= 20
    assert min(found.times(what) for what in kills.TARGETS) >= 2
    assert found.redone <= found.in_flight
    calm = kills.prepare(tmp_path / "calm", records=160)
    with without_ray():
        run(configuration.load(calm))
    assert list(sound.compared(attacked.parent / "run", calm.parent / "run")) == []
