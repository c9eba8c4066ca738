"""Names that come up in folders, or are opened, told by the kernel: what a program does is counted
without asking it."""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

CREATED = 0x100 | 0x80  # inotify(7): made there, or moved there
OPENED = 0x20
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, bytes of the name that follows
_BUFFER = 1 << 20


class Notices:
    """Follows some folders (not those in them) from now on. Linux only."""

    def __init__(self, folders: Iterable[Path], what: int = CREATED) -> None:
        kernel = ctypes.CDLL(None, use_errno=True)
        self._descriptor = kernel.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for folder in folders:
            name = os.fsencode(folder)
            if kernel.inotify_add_watch(self._descriptor, name, what) < 0:
                raise OSError(ctypes.get_errno(), f"can't follow {folder}")

    def read(self) -> list[str]:
        """The names since the last call, in their order."""
        names = []
        while True:
            try:
                data = os.read(self._descriptor, _BUFFER)
            except BlockingIOError:
                return names
            start = 0
            while start < len(data):
                *_, size = _EVENT.unpack_from(data, start)
                start += _EVENT.size
                names.append(data[start : start + size].rstrip(b"\0").decode())
                start += size

    def close(self) -> None:
        """Follow no more."""
        os.close(self._descriptor)
