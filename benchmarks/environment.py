"""A virtual environment for packages that are compared with us and are none of our dependencies."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def made(folder: Path, packages: Sequence[str], same: Sequence[str]) -> Path:
    """Its Python, made when it is first needed. same: names of packages in the version that we have."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        wanted = [*packages, *(f"{name}=={version(name)}" for name in same)]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / "made").touch()
    return python
