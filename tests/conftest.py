"""What several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """Real media and weights; without them a test skips on a user's machine, and fails in CI."""
    folder = os.environ.get("POLYFUSE_TEST_DATA")
    if not folder:
        if os.environ.get("CI"):
            pytest.fail("POLYFUSE_TEST_DATA is not set: in CI the tests with real data must run")
        pytest.skip("POLYFUSE_TEST_DATA is not set")
    return Path(folder)
