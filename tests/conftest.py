"""What every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real test data."""
    folder = os.environ.get("POLYFUSE_TEST_DATA")
    if folder is None:
        pytest.skip("POLYFUSE_TEST_DATA is not set")
    return Path(folder)
