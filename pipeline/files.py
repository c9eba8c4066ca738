"""Publishing files so that a crash at any moment leaves either nothing or the whole file.

POSIX: temporary name in the same folder, fsync, then rename (or link, where the first must win),
then fsync of the folder.
"""

import contextlib
import functools
import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline import disk
from pipeline.errors import PolyfuseError

FORMAT = 1  # in every JSON file and Parquet footer of ours
TEMPORARY = ".tmp-"
T = TypeVar("T")


def publish(path: Path, data: bytes) -> None:
    """Write `path` atomically, replacing what is there."""
    with replacing(path) as temporary:
        disk.write(temporary, data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to, for what does not fit in memory; `path` appears when the block ends well.

    After an error it does not appear, and what was written is removed.
    """
    with _temporary(path) as temporary:
        yield temporary
        disk.sync(temporary)
        disk.rename(temporary, path)
    disk.sync(path.parent)


def create(path: Path, data: bytes) -> bool:
    """Write `path` atomically only if it does not exist; False where another was first.

    A hard link is exclusive and, unlike O_EXCL, never shows a half-written file.
    """
    with _temporary(path) as temporary:
        disk.write(temporary, data)
        disk.sync(temporary)
        try:
            disk.link(temporary, path)
        except FileExistsError:
            return False
    disk.sync(path.parent)
    return True


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
        raw = path.read_bytes()
        data = json.loads(raw)
    except OSError as err:
        raise PolyfuseError(f"can't read {path}: {err.strerror}") from err
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
