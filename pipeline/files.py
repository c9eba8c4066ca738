"""Publishing files so that a crash at any moment leaves either nothing or the whole file.

In a folder: temporary name beside it, fsync, then rename (or link, where the first must win), then
fsync of the folder. In an object store: one put. All that a run reads and writes goes through here,
so that nothing else has to know which of the two it is.
"""

import contextlib
import functools
import hashlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline import bucket, disk
from pipeline.errors import PolyfuseError

FORMAT = 1  # in every JSON file and Parquet footer of ours
TEMPORARY = ".tmp-"
_UNUSED = 7 * 24 * 3600.0  # seconds after which a copy on this machine goes
T = TypeVar("T")


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
    return [_bytes_or_none(path) for path in paths]


def _bytes_or_none(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


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
    """One of our JSON files: `format: 1`, sorted keys, so that equal content is equal bytes.

    Its last line is the sha256 of all that comes before that line.
    """
    text = json.dumps({"format": FORMAT, **data}, sort_keys=True, indent=1)
    body = text.removesuffix("\n}").encode()
    return body + _seal(body)


def _seal(body: bytes) -> bytes:
    return b',\n "sha256": "%s"\n}\n' % hashlib.sha256(body).hexdigest().encode()


_SEAL = len(_seal(b""))


def read_json(path: Path, advice: str = "restore it from a copy") -> dict[str, Any]:
    """A JSON file of ours, without its format and its digest.

    Args:
        path: the file.
        advice: what a person should do where it is damaged.

    Raises:
        PolyfuseError: it can't be read, is of a newer format, or has other bytes than were written.
    """
    try:
        return parse_json(read(path), path, advice)
    except OSError as err:
        raise PolyfuseError(f"can't read {path}: {err.strerror or 'it is not there'}") from err


def parse_json(raw: bytes, path: Path, advice: str) -> dict[str, Any]:
    """The same of bytes that were read from there.

    Raises:
        PolyfuseError: they are of a newer format, or not those that were written.
    """
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as err:
        raise damaged(path, "it is no JSON", advice) from err
    found = data.get("format") if isinstance(data, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise PolyfuseError(
            f"{path} has format {found}; this version of polyfuse reads format {FORMAT}"
        )
    if found != FORMAT or raw[-_SEAL:] != _seal(raw[:-_SEAL]):
        raise damaged(path, "its bytes are not those that were written", advice)
    return {key: value for key, value in data.items() if key not in ("format", "sha256")}


def read_as(kind: type[T], path: Path, advice: str = "restore it from a copy") -> T:
    """A JSON file of ours as the dataclass it was made from.

    Raises:
        PolyfuseError: as `read_json`; or a key is missing, or a value is not of its type.
    """
    return typed(kind, read_json(path, advice), path, advice)


def typed(kind: type[T], data: Any, path: Path, advice: str) -> T:
    """What a file said, as a dataclass with every value checked.

    Raises:
        PolyfuseError: a key is missing, or a value is not of its type.
    """
    try:
        return _adapter(kind).validate_python(data)  # type: ignore[arg-type]  # mypy: is a class hashable?
    except ValidationError as err:
        first = err.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise damaged(path, f"{place}: {first['msg']}", advice) from err


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def damaged(path: Path, what: str, advice: str) -> PolyfuseError:
    """The error for a file of ours that is not as it was written."""
    return PolyfuseError(f"{path} is damaged ({what}): {advice}")


def short_digest(data: Any) -> str:
    """Sixteen hex digits over JSON values; the order of keys changes nothing."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    if bucket.holds(path):
        return hashlib.sha256(bucket.get(path)).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_digest(path: Path, sha256: str | None) -> bool:
    """Whether a file is there and has the bytes that were written."""
    return path.is_file() and sha256_of(path) == sha256


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
