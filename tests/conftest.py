"""What several test files share."""

import os
from pathlib import Path

import pytest

# Read when torch starts its pool. Tests share their cores, and waiting threads spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def data() -> Path:
    """Real media and weights; without them a test skips on a user's machine, and fails in CI."""
    folder = os.environ.get("POLYFUSE_TEST_DATA")
    if not folder:
        if os.environ.get("CI"):
            pytest.fail("POLYFUSE_TEST_DATA is not set: in CI the tests with real data must run")
        pytest.skip("POLYFUSE_TEST_DATA is not set")
    return Path(folder)
