"""Every change to a run's files, one operation at a time: a crash may come before or after each.

Nothing else in this package writes, renames or removes. What `sync` has not been called for may be
lost in a power cut: the bytes of a file until its own sync, its name until that of its folder.
"""

import os
import shutil
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """A file with these bytes."""
    path.write_bytes(data)


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(old: Path, new: Path) -> None:
    """In one step; a file that has the new name is replaced."""
    os.replace(old, new)


def link(old: Path, new: Path) -> None:
    """A second name for a file.

    Raises:
        FileExistsError: the name is taken; of several who try at once one gets it.
    """
    os.link(old, new)


def make_folder(path: Path) -> None:
    """A folder, and those it lies in; their names last when it returns."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)


def remove(path: Path) -> None:
    """A file, if it is there."""
    path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """A folder and all in it, if it is there. The names below go one by one, in no order.

    Raises:
        OSError: something in it can't be removed.
    """
    if path.exists():
        shutil.rmtree(path)


def touch(path: Path) -> None:
    """Now is the time of its last change."""
    os.utime(path)
