import os
from pathlib import Path

import pytest

# Read when torch starts its pool. Tests share their cores, and waiting threads spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real test data; each of its folders has a README.md."""
    if "POLYFUSE_TEST_DATA" not in os.environ:
        pytest.skip("POLYFUSE_TEST_DATA is not set")
    return Path(os.environ["POLYFUSE_TEST_DATA"])
