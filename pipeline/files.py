"""Publishing files so that a crash at any moment leaves either nothing or the whole file.

POSIX: temporary name in the same folder, fsync, then rename (or link, where the first must win),
then fsync of the folder.
"""

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.errors import PolyfuseError

FORMAT = 1  # in every JSON file and Parquet footer of ours
TEMPORARY = ".tmp-"


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
    """One of our JSON files: `format: 1`, sorted keys, so that equal content is equal bytes."""
    return (json.dumps({"format": FORMAT, **data}, sort_keys=True, indent=1) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of ours."""
    return json.loads(path.read_bytes())


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
