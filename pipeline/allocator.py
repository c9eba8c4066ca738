"""Memory that is freed stays with the process that will want it again a moment later."""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_NEVER, _LARGE = 2**31 - 1, 2**30  # bytes


def keep_freed_memory() -> None:
    """A network frees and allocates the same megabytes in every layer; given back to the system each
    time, they come back page by page, and a ViT in bf16 takes a sixth longer. Only with glibc."""
    with contextlib.suppress(OSError, AttributeError):
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_MMAP_THRESHOLD, _LARGE)
        glibc.mallopt(_TRIM_THRESHOLD, _NEVER)
