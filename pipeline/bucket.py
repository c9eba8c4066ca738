"""A run's folder in an object store: the few operations on it, none of them a rename.

An object is put whole or not at all, and is there for everybody once it is. A listing is believed
only where it may be old: it can lag behind what was put or removed. The answer to a put can be lost
after the put has worked, and the client repeats it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from pipeline.errors import ConfigError, PolyfuseError
from pipeline.redact import without_users

EXTRAS = {"s3": "s3", "gs": "gcs"}  # scheme -> the extra of ours that brings its package


def path(uri: str) -> Path:
    """What `s3://bucket/products` names; it has the methods of a Path that readers use.

    Raises:
        ConfigError: no such scheme, the package for it is not installed, or a password in the address.
        PolyfuseError: the bucket can't be reached, in one line.
    """
    scheme = uri.partition("://")[0]
    if scheme not in (*EXTRAS, "memory"):  # the last one is fsspec's own, for tests
        known = ", ".join(f"{name}://BUCKET/NAME" for name in EXTRAS)
        raise ConfigError(f"{uri}: unknown scheme {scheme!r}; expected a folder or {known}")
    if without_users(uri) != uri:
        raise ConfigError(
            f"{without_users(uri)}: it was given with a user name or password; leave those to the "
            "environment"
        )
    try:
        from upath import UPath

        found = cast(Path, UPath(uri, use_listings_cache=False))  # others change it, too
    except ImportError as err:
        extra = f"pip install 'polyfuse[{EXTRAS[scheme]}]'"
        raise ConfigError(f"{uri}: runs in {scheme}:// need {extra}") from err
    with _asking(found):
        found.exists()
    return found


def holds(path: Path) -> bool:
    """Whether this path is one of an object store."""
    return not isinstance(path, Path)


def get(path: Path) -> bytes:
    """The object's bytes.

    Raises:
        FileNotFoundError: there is none.
    """
    with _asking(path):
        return store(path).cat_file(key(path), start=0)  # from a byte on: nobody asks for the size


def get_all(paths: Sequence[Path]) -> list[bytes | None]:
    """The bytes of many objects, asked for side by side; None for one that is not there."""
    keys = [key(path) for path in paths]
    with _asking(paths[0]):
        found = store(paths[0]).cat_ranges(keys, 0, None, on_error="return")
    return [_bytes_or_none(path, one) for path, one in zip(paths, found, strict=True)]


def put(path: Path, data: bytes) -> None:
    """One put; what was there is replaced."""
    with _asking(path):
        store(path).pipe_file(key(path), data)


def put_new(path: Path, data: bytes) -> bool:
    """One put under the condition that nothing is there; False where something else was.

    Where the same bytes lie there already the put counts as ours: it is ours whenever its answer was
    lost, and of two equal ones it does not matter which was first.
    """
    try:
        with _asking(path):
            store(path).pipe_file(key(path), data, mode="create")
    except FileExistsError:
        return get(path) == data
    return True


def upload(local: Path, path: Path) -> None:
    """A file of this machine as an object, in several requests where it is large; whole at the last."""
    with _asking(path):
        store(path).put_file(str(local), key(path))


def remove(path: Path) -> None:
    """An object, if it is there."""
    with _asking(path), contextlib.suppress(FileNotFoundError):
        store(path).rm_file(key(path))


def remove_tree(path: Path) -> None:
    """Everything below a path that a listing shows."""
    with _asking(path), contextlib.suppress(FileNotFoundError):
        store(path).rm(key(path), recursive=True)


def names(folder: Path, prefix: str = "") -> list[str]:
    """What a listing shows directly in a folder, in order; one request for every thousand."""
    with _asking(folder), contextlib.suppress(FileNotFoundError):
        found = store(folder).find(key(folder), maxdepth=1, withdirs=True, prefix=prefix)
        ours = (other[len(key(folder)) + 1 :] for other in found)
        return sorted(name for name in ours if name and name.startswith(prefix))
    return []


def below(folder: Path) -> list[Path]:
    """What a listing shows in a folder and in all those in it, in order."""
    with _asking(folder):
        found = store(folder).find(key(folder))
        return [folder / other[len(key(folder)) + 1 :] for other in sorted(found)]


def download(path: Path, local: Path) -> None:
    """An object as a file of this machine."""
    with _asking(path):
        store(path).get_file(key(path), str(local))


def mark(path: Path) -> str:
    """Another one as soon as the object is another one."""
    with _asking(path):
        return store(path).ukey(key(path))


def store(path: Any) -> Any:
    """The file system of fsspec that a path belongs to."""
    return path.fs


def for_arrow(path: Path) -> Any:
    """The same as pyarrow's own file systems are used."""
    from pyarrow import fs

    return fs.PyFileSystem(fs.FSSpecHandler(store(path)))


def key(path: Any) -> str:
    """The path's name in it."""
    return path.path


def _bytes_or_none(path: Path, found: Any) -> bytes | None:
    if isinstance(found, FileNotFoundError):
        return None
    if isinstance(found, Exception):
        raise _refused(path, found) from found
    return found


@contextlib.contextmanager
def _asking(path: Path) -> Iterator[None]:
    """Every store has errors of its own: but for two they become one line for a person."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, PolyfuseError):
        raise
    except Exception as err:
        raise _refused(path, err) from err


def _refused(path: Path, err: Exception) -> PolyfuseError:
    said = " ".join(str(err).split()) or type(err).__name__
    return PolyfuseError(
        f"{path}: the object store says: {said}; check its address and credentials "
        "(docs/cluster.md), then run the same command again: what is done is kept"
    )
