"""Which precision to encode in: half precision where the hardware gains and the vectors keep.

Two gates. Hardware: on a CPU without instructions for it (AMX, AVX512-BF16) bf16 is slower than fp32,
at times by a hundredfold, so the flags must be there and a short multiplication must prove it.
Accuracy: over real items the smallest cosine between half-precision and fp32 vectors must reach
0.999 and recall@10 of their neighbours 0.99; small convolutional networks fail that. The outcome is
provenance, recorded with the vectors, not identity.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.agreement import least_cosine, recall
from encoders.base import Encoder, Prepared
from encoders.failures import first_line

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("auto", *sorted(DTYPES))
PROBES = 256
WORTH = 2 * PROBES  # items below which the comparison takes longer than half precision saves
COSINE = 0.999
RECALL = 0.99
_FIRST = 32  # probes that already tell most models that fail
# Any of these sets of flags means instructions that multiply bf16.
_AMX = {"amx_bf16", "amx_tile"}
_FLAGS = (_AMX, {"avx512_bf16"})


def dtype_of(precision: str) -> torch.dtype:
    """The number type that a resolved precision computes in.

    Raises:
        ValueError: no precision to compute in; `auto` must be resolved first.
    """
    if precision not in DTYPES:
        raise ValueError(f"expected precision {' | '.join(DTYPES)}, got {precision!r}")
    return DTYPES[precision]


def resolve(precision: str, device: str = "cpu") -> str:
    """bf16, fp16 or fp32: what was asked for, or for `auto` what the hardware is good at.

    Raises:
        ValueError: an unknown precision, or fp16 on a CPU, which computes it slowly and overflows.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"expected precision {' | '.join(PRECISIONS)}, got {precision!r}")
    on_cpu = torch.device(device).type == "cpu"
    if precision == "fp16" and on_cpu:
        raise ValueError("precision fp16 needs a GPU; choose auto, bf16 or fp32")
    if precision != "auto":
        return precision
    if on_cpu:
        able = any(flags <= cpu_flags() for flags in _FLAGS)
        return "bf16" if able and gain() > 1.5 else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def has_amx() -> bool:
    """Whether this processor multiplies tiles of bf16."""
    return cpu_flags() >= _AMX


def cpu_flags() -> set[str]:
    """The processor's feature flags, as Linux lists them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


@functools.cache  # it does not change while a process lives
def gain() -> float:
    """How much faster a bf16 multiplication of a usual size is than fp32 here; takes ~50 ms.

    In turns and on one thread, so that a machine that is busy now gives the same answer.
    """
    sides = {
        dtype: (torch.ones(256, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    best = dict.fromkeys(sides, float("inf"))
    with threads(1):
        for _ in range(10):  # the first one packs weights and compiles kernels
            for dtype, (left, right) in sides.items():
                start = time.perf_counter()
                left @ right
                best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best[torch.float32] / best[torch.bfloat16]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch computes on so many threads; on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose(
    build: Callable[[str], Encoder],
    probes: Callable[[], Sequence[Prepared]],
    device: str = "cpu",
    precision: str = "auto",
) -> tuple[str, dict[str, Any]]:
    """The precision to encode in, and what was measured, to be recorded.

    Args:
        build: gives the encoder in a precision.
        probes: gives prepared items of the corpus; called only where half precision may pay. With
            fewer than PROBES of them it is not trusted.
        device: where the encoder will run.
        precision: as configured; only `auto` is checked, anything else is the user's decision.
    """
    wanted = resolve(precision, device)
    record: dict[str, Any] = {"asked": precision, "hardware": wanted}
    if precision == "auto" and wanted != "fp32":
        passed, measured = passes_gate(build, probes(), wanted)
        record |= measured
        wanted = wanted if passed else "fp32"
    return wanted, record | {"precision": wanted}


def passes_gate(
    build: Callable[[str], Encoder], probes: Sequence[Prepared], precision: str
) -> tuple[bool, dict[str, Any]]:
    """Whether vectors in `precision` stay close enough to fp32, and the measurement behind it.

    The first few probes are compared first: a model that fails them is not asked for the others. An
    encoder that can't compute the probes, for want of memory or of an operation in this precision,
    fails too.
    """
    measured: dict[str, Any] = {"probes": len(probes), "least_cosine": None, "recall": None}
    if len(probes) < PROBES:
        return False, measured
    true, close = [], []
    try:
        exact, half = build("fp32"), build(precision)
        for part in (probes[:_FIRST], probes[_FIRST:]):
            true.append(exact.encode(part))
            close.append(half.encode(part))
            cosine = least_cosine(true[-1], close[-1])
            if cosine < COSINE:
                compared = sum(map(len, true))
                return False, measured | {"probes": compared, "least_cosine": cosine}
            measured["least_cosine"] = min(cosine, measured["least_cosine"] or 1.0)
    except RuntimeError as err:  # torch's, for all of these
        return False, measured | {"failed": first_line(err)}
    found = recall(np.concatenate(true), np.concatenate(close))
    return found >= RECALL, measured | {"recall": found}
