"""Publishing files so that a crash at any moment leaves either nothing or the whole file.

In a folder: temporary name beside it, fsync, then rename (or link, where the first must win), then
fsync of the folder. In an object store: one put. All that a run reads and writes goes through here,
so that nothing else has to know which of the two it is.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline import bucket, disk
from pipeline.errors import PolyfuseError

FORMAT = 1  # in every JSON file and Parquet footer of ours
TEMPORARY = ".tmp-"
_UNUSED = 7 * 24 * 3600.0  # seconds after which a copy on this machine goes


def at(place: str | Path) -> Path:
    """A folder, or `s3://bucket/name` as something with the methods of a Path that readers use.

    Raises:
        PolyfuseError: the object store can't be used, in one line.
    """
    return bucket.path(str(place)) if "://" in str(place) else Path(place)


def publish(path: Path, data: bytes) -> None:
    """Write `path` atomically, replacing what is there."""
    if bucket.holds(path):
        bucket.put(path, data)
        return
    with replacing(path) as temporary:
        disk.write(temporary, data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to, for what does not fit in memory; `path` appears when the block ends well.

    After an error it does not appear, and what was written is removed.
    """
    if bucket.holds(path):
        with tempfile.TemporaryDirectory() as scratch:
            temporary = Path(scratch, path.name)
            yield temporary
            bucket.upload(temporary, path)
        return
    with _temporary(path) as temporary:
        yield temporary
        disk.sync(temporary)
        disk.rename(temporary, path)
    disk.sync(path.parent)


def create(path: Path, data: bytes) -> bool:
    """Write `path` atomically only if it does not exist; False where another was first.

    A hard link is exclusive and, unlike O_EXCL, never shows a half-written file.
    """
    if bucket.holds(path):
        return bucket.put_new(path, data)
    with _temporary(path) as temporary:
        disk.write(temporary, data)
        disk.sync(temporary)
        try:
            disk.link(temporary, path)
        except FileExistsError:
            return False
    disk.sync(path.parent)
    return True


def remove(path: Path) -> None:
    """A file, if it is there."""
    (bucket if bucket.holds(path) else disk).remove(path)


def remove_tree(path: Path) -> None:
    """A folder and all in it, if it is there; of a store what a listing shows.

    Raises:
        OSError: something in it can't be removed.
    """
    (bucket if bucket.holds(path) else disk).remove_tree(path)


def below(folder: Path) -> list[Path]:
    """All files in a folder and in those in it; as complete as `names`.

    A temporary folder stands for all that is in it.
    """
    if bucket.holds(folder):
        return bucket.below(folder)
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        temporary = [name for name in folders if name.startswith(TEMPORARY)]
        folders[:] = set(folders).difference(temporary)
        found += [Path(place, name) for name in (*names, *temporary)]
    return found


def remove_any(path: Path) -> None:
    """A file, or a folder with all in it."""
    remove_tree(path) if path.is_dir() else remove(path)


def touch(path: Path) -> None:
    """Now is the time of its last change."""
    if bucket.holds(path):
        bucket.put(path, bucket.get(path))
    else:
        disk.touch(path)


def make_folder(path: Path) -> None:
    """A folder to write to; an object store needs none."""
    if not bucket.holds(path):
        disk.make_folder(path)


def read(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        FileNotFoundError: there is none.
    """
    return bucket.get(path) if bucket.holds(path) else path.read_bytes()


def read_all(paths: Sequence[Path]) -> list[bytes | None]:
    """The bytes of many files of one run; None for one that is not there."""
    if paths and bucket.holds(paths[0]):
        return bucket.get_all(paths)
    return [path.read_bytes() if path.exists() else None for path in paths]


def names(folder: Path, prefix: str = "") -> list[str]:
    """What is directly in a folder, in order; none where there is no such folder.

    An object store may leave out what is new and name what is gone.
    """
    if bucket.holds(folder):
        return bucket.names(folder, prefix)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(name for name in os.listdir(folder) if name.startswith(prefix))
    return []


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder for what does not last: inside this one, where there is room, if it is of this machine."""
    inside = None if bucket.holds(folder) else folder
    with tempfile.TemporaryDirectory(dir=inside, prefix=TEMPORARY) as place:
        yield Path(place)


def local(path: Path) -> Path:
    """The file, or a copy on this machine for libraries that read no object store.

    Raises:
        FileNotFoundError: there is no such object.
    """
    if not bucket.holds(path):
        return path
    key = hashlib.sha256(f"{path} {bucket.mark(path)}".encode()).hexdigest()[:32]
    copy = cache() / "objects" / key
    if not copy.exists():
        _forget_unused(copy.parent)
        with _temporary(copy) as temporary:
            bucket.download(path, temporary)
            disk.rename(temporary, copy)
    return copy


def cache() -> Path:
    """The folder of this user and machine for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "polyfuse")


def _forget_unused(folder: Path) -> None:
    for copy in folder.glob("*"):
        with contextlib.suppress(OSError):  # another process does the same
            if time.time() - max(copy.stat().st_atime, copy.stat().st_mtime) > _UNUSED:
                disk.remove(copy)


def to_json(data: dict[str, Any]) -> bytes:
    """One of our JSON files: `format: 1`, sorted keys, so that equal content is equal bytes."""
    return (json.dumps({"format": FORMAT, **data}, sort_keys=True, indent=1) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of ours."""
    return json.loads(read(path))


def short_digest(data: Any) -> str:
    """Sixteen hex digits over JSON values; the order of keys changes nothing."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    if bucket.holds(path):
        return hashlib.sha256(bucket.get(path)).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Raises PolyfuseError where the disk refuses; in any case nothing temporary is left."""
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        disk.make_folder(path.parent)
        yield temporary
    except OSError as err:
        no_folder = isinstance(err, FileExistsError | NotADirectoryError)
        reason = "a file stands where a folder should be" if no_folder else err.strerror
        raise PolyfuseError(
            f"can't write {path}: {reason}; mend that, or choose another output, and run the "
            "same command again: what is done is kept"
        ) from err
    finally:
        with contextlib.suppress(OSError):  # a full disk wants its bytes back
            disk.remove(temporary)
