import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data."""
    if "POLYFUSE_TEST_DATA" not in os.environ:
        pytest.skip("POLYFUSE_TEST_DATA is not set")
    return Path(os.environ["POLYFUSE_TEST_DATA"])
