import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data that POLYFUSE_TEST_DATA names."""
    folder = os.environ.get("POLYFUSE_TEST_DATA")
    if not folder:
        pytest.skip("POLYFUSE_TEST_DATA is not set")
    return Path(folder)
