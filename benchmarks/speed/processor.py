"""On which processor a number is measured: its name, generation, and what decides about half precision."""

import platform
import re
import time
from pathlib import Path

import torch

from encoders.precision import cpu_flags, threads

_SIDE = 512
_SECONDS = 0.2


def name() -> str:
    """As in "AMD EPYC family 25; avx512_bf16": clouds leave the rest of the name out."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = dict(map(str.strip, line.split(":", 1)) for line in reversed(lines) if ":" in line)
    flags = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in cpu_flags()]
    model = facts.get("model name", platform.machine())
    if "cpu family" in facts:
        model += f" family {facts['cpu family']}"
    return f"{model}; {', '.join(flags) or 'no bf16'}"


def products() -> float:
    """GFLOP/s of one core that multiplies in bf16: what is lent by a cloud varies with its neighbours."""
    left, right = (torch.ones(_SIDE, _SIDE, dtype=torch.bfloat16) for _ in range(2))
    with threads(1):
        left @ right
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < _SECONDS:
            left @ right
            done += 1
        return 2 * _SIDE**3 * done / (time.perf_counter() - start) / 1e9


def slug(name: str) -> str:
    """The name of a processor in that of a file."""
    return re.sub(r"\W+", "_", name.lower())
