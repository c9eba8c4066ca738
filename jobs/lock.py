"""Turn pip's resolution report into requirements.lock:  python -m jobs.lock REPORT.json

torch is pinned without its local suffix (+cpu, +cu130), so that one lock fits every build of it,
and what only its CUDA builds pull in is left out: `make setup` installs torch first, with its own
dependencies, and everything else exactly as listed.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

_HEADER = "# Written by `make lock` from a fresh resolution of pyproject.toml. Don't edit.\n"
_COMES_WITH_TORCH = re.compile(r"nvidia-|cuda-|triton$")


def lock(report: dict[str, Any]) -> str:
    """The text of requirements.lock for a report of `pip install --dry-run --report`."""
    packages = {
        item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"]
        for item in report["install"]
    }
    lines = [
        f"{name}=={version.partition('+')[0]}\n"
        for name, version in sorted(packages.items())
        if name != "polyfuse" and not _COMES_WITH_TORCH.match(name)
    ]
    return _HEADER + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(lock(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
