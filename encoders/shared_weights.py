"""One copy of a network's weights in memory for all workers of a machine that load it.

Each worker loads weights of its own, writes them to a file unless another has done so, maps that file
in their place and gives its own back: the system keeps the pages of a file once, whoever maps them. What
is mapped has been compared bit by bit with what was loaded; where no file can be had, or where it holds
anything else, a worker keeps its own. A file is there as long as one of its workers lives, and a
little longer after a kill: the next worker that shares removes what nobody holds.
"""

import contextlib
import fcntl
import functools
import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

_ALIGNMENT = 64  # bytes: a cache line, and what a vector instruction likes
_WORTH = 16 * 2**20  # bytes of weights below which a file is not worth its name
_held: list[int] = []  # descriptors whose locks end with this process


def share(module: nn.Module) -> bool:
    """Let the weights of a network on the CPU, which nobody will write to, lie in shared pages.

    Returns:
        Whether they do; the network computes the same in any case.
    """
    weights = [*module.parameters(), *module.buffers()]
    whole = [tensor for tensor in weights if _is_whole(tensor)]
    if sum(map(_size, whole)) < _WORTH:
        return False
    with contextlib.suppress(OSError):  # a full or foreign folder: no reason not to work
        mapped = _mapped(whole)
        views = list(_views(mapped, whole))
        if all(map(_same, views, whole)):
            for tensor, view in zip(whole, views, strict=True):
                tensor.data = view
            return True
    return False


def _is_whole(tensor: Tensor) -> bool:
    """Whether it lies alone and in full in its memory, in whatever order of its dimensions."""
    return tensor.is_cpu and tensor.untyped_storage().nbytes() == _size(tensor) > 0


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _flat(tensor: Tensor) -> Tensor:
    """(n,) uint8 as they lie in memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,)).view(torch.uint8)


def _same(view: Tensor, tensor: Tensor) -> bool:
    return torch.equal(_flat(view), _flat(tensor))


def _bytes(tensor: Tensor) -> memoryview:
    return _flat(tensor).numpy().data


def _starts(tensors: Sequence[Tensor]) -> list[int]:
    """Where in the file each begins, and where the last one ends."""
    starts = [0]
    for tensor in tensors:
        starts.append(starts[-1] + -(-_size(tensor) // _ALIGNMENT) * _ALIGNMENT)
    return starts


def _views(mapped: np.ndarray, tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Tensors of the same shapes and strides in the mapped bytes."""
    for start, tensor in zip(_starts(tensors), tensors, strict=False):
        flat = torch.from_numpy(mapped[start : start + _size(tensor)]).view(tensor.dtype)
        yield flat.as_strided(tensor.shape, tensor.stride())


def _mapped(tensors: Sequence[Tensor]) -> np.ndarray:
    """The file of these weights, held by this process, as bytes: a write would make a private copy.

    Raises:
        OSError: the folder can't be used.
    """
    digest = hashlib.sha256(repr(_starts(tensors)).encode())
    for tensor in tensors:
        digest.update(_bytes(tensor))
    path = _folder() / digest.hexdigest()
    while True:
        if not path.exists():
            _write(path, tensors)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # somebody removed it before it was held
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:  # else it was removed after all
            _held.append(descriptor)
            return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY), np.uint8)
        os.close(descriptor)


def _write(path: Path, tensors: Sequence[Tensor]) -> None:
    """Whole, under its name, unless another process was faster: there is one file, never a second."""
    starts = _starts(tensors)
    writing = _locked(path.parent, fcntl.LOCK_SH)  # else one might be removed before it is locked
    with writing, tempfile.NamedTemporaryFile(dir=path.parent) as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # nobody holds what is not there yet
        for start, tensor in zip(starts, tensors, strict=False):
            file.seek(start)
            file.write(_bytes(tensor))
        file.truncate(starts[-1])
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)


@functools.cache
def _folder() -> Path:
    """Of this user alone; what nobody holds any more is removed.

    Raises:
        OSError: it is another's, or open to others.
    """
    folder = Path(tempfile.gettempdir(), f"polyfuse-weights-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not this user's alone")
    _sweep(folder)
    return folder


def _sweep(folder: Path) -> None:
    """Remove what nobody holds; not while somebody writes."""
    alone = fcntl.LOCK_EX | fcntl.LOCK_NB
    with contextlib.suppress(BlockingIOError), _locked(folder, alone):
        for path in folder.iterdir():
            with contextlib.suppress(OSError), _locked(path, alone):
                path.unlink()


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
