"""Publishing files so that a crash at any moment leaves either nothing or the whole file.

POSIX: temporary name in the same folder, fsync, then rename (or link, where the first must win),
then fsync of the folder. Where the system refuses, a PolyfuseError says so in one line.
"""

import contextlib
import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from pipeline.errors import PolyfuseError

FORMAT = 1  # in every JSON file and Parquet footer of ours
TEMPORARY = ".tmp-"


def publish(path: Path, data: bytes) -> None:
    """Write `path` atomically, replacing what is there."""
    temporary = _write_temporary(path, data)
    os.replace(temporary, path)
    _sync_folder(path.parent)


def create(path: Path, data: bytes) -> bool:
    """Write `path` atomically only if it does not exist; False where another was first.

    A hard link is exclusive and, unlike O_EXCL, never shows a half-written file.
    """
    temporary = _write_temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def to_json(data: dict[str, Any]) -> bytes:
    """One of our JSON files: `format: 1`, sorted keys, so that equal content is equal bytes."""
    return (json.dumps({"format": FORMAT, **data}, sort_keys=True, indent=1) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of ours."""
    return json.loads(path.read_bytes())


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as err:
        with contextlib.suppress(OSError):  # a full disk wants its bytes back
            temporary.unlink()
        no_folder = isinstance(err, FileExistsError | NotADirectoryError)
        reason = "a file stands where a folder should be" if no_folder else err.strerror
        raise PolyfuseError(
            f"can't write {path}: {reason}; mend that, or choose another output, and run the "
            "same command again: what is done is kept"
        ) from err
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
