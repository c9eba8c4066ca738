"""SIGKILL at random moments of real runs: rerunning gives the bytes of an undisturbed run."""

import pytest

from chaos import kills

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def test_kills_at_random_moments_change_no_byte(tmp_path):
    found = kills.attack(tmp_path, 20, seed=0, say=print)
    assert found.problems == []
    assert found.killed.total() >= 20
    assert min(found.killed[what] for what in kills.TARGETS) >= 3
