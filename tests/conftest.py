"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; without it the test is skipped."""
    folder = os.environ.get("POLYFUSE_TEST_DATA")
    if not folder:
        pytest.skip("POLYFUSE_TEST_DATA is not set")
    return Path(folder)
