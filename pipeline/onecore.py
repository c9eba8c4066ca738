"""A process that works on one core, as every worker does: what it sets before, and keeps to."""

import contextlib
import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_NEVER, _LARGE = 2**31 - 1, 2**30  # bytes


def begin() -> None:
    """For a process that is all one worker's: no threads of tokenizers, and memory that is kept."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Memory that is freed stays with the process that will want it again a moment later.

    A network frees and allocates the same megabytes in every layer; given back to the system each
    time, they come back page by page, and a ViT in bf16 takes a sixth longer. Only with glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_MMAP_THRESHOLD, _LARGE)
        glibc.mallopt(_TRIM_THRESHOLD, _NEVER)


def give_back() -> None:
    """What is free now goes back to the system: it will not be wanted again, as what loading took."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def single_threaded() -> None:
    """Keep torch, where something has loaded it, to one thread.

    Ray sets OMP_NUM_THREADS, which does not reach a pool that has started.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
