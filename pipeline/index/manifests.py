"""An index on disk: RUN/index/<name>/v0000001/ with its manifest, and the pointer to the current one.

Light: no FAISS here, so that listing indexes costs nothing.
"""

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from encoders.base import Identity
from pipeline import files
from pipeline.errors import PolyfuseError, Refused

FILES = ("index.faiss", "rows.parquet")
AGAIN = "build the index again with `polyfuse index CONFIG`"
_POINTER = "current.json"


class Counts(TypedDict):
    """Rows of rows.parquet, those that can be found, and the first id that was never given."""

    rows: int
    indexed: int
    next_id: int


class Version(TypedDict):
    """A snapshot of the run."""

    version: int
    digest: str


class File(TypedDict):
    """What a file must be before anything opens it."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """manifest.json.

    type: FAISS factory string; counts: rows, indexed, next_id; snapshot: version and digest of the
    run's state it was built from; parts: folder, and digest over the vector parts; identities: of the
    encoders and models by name; search: calibrated settings; recall: what was measured, how; memory:
    cap, estimate and size on disk, in bytes; files: sha256 and bytes of both.
    """

    name: str
    type: str
    metric: str
    dim: int
    counts: Counts
    snapshot: Version
    identities: Mapping[str, Identity]
    search: Mapping[str, int]
    recall: Mapping[str, Any]
    memory: Mapping[str, int]
    files: Mapping[str, File]
    folder: str
    faiss: str

    def to_json(self) -> bytes:
        """The file."""
        return files.to_json(asdict(self))


def current(folder: Path) -> Path | None:
    """The current version's folder of RUN/index/<name>, or None.

    Raises:
        PolyfuseError: the pointer to it is damaged.
    """
    pointer = folder / _POINTER
    if not pointer.exists():
        return None
    version = files.read_json(pointer, AGAIN).get("version")
    if not isinstance(version, str) or not re.fullmatch(r"v\d+", version):
        raise files.damaged(pointer, f"it names {version!r}", AGAIN)
    return folder / version


def read_manifest(version: Path) -> Manifest:
    """Read manifest.json of one version.

    Raises:
        PolyfuseError: it is missing, damaged or of another format.
    """
    path = version / "manifest.json"
    manifest = files.read_as(Manifest, path, AGAIN)
    if not set(FILES) <= manifest.files.keys():
        raise files.damaged(path, f"it lacks {' or '.join(FILES)}", AGAIN)
    if manifest.name not in manifest.identities:
        raise files.damaged(path, f"it does not say what {manifest.name} was made with", AGAIN)
    return manifest


def names(run: Path) -> list[str]:
    """The indexes a run has."""
    there = files.names(run / "index")
    return [name for name in there if (run / "index" / name / _POINTER).exists()]


def next_version(folder: Path) -> Path:
    """The folder after every version that there is."""
    now = current(folder)
    numbers = [int(path.name[1:]) for path in [*versions(folder), *([now] if now else [])]]
    return folder / f"v{max(numbers, default=0) + 1:07d}"


def versions(folder: Path) -> list[Path]:
    """All versions, oldest first; those after the current one were never finished."""
    return [folder / name for name in files.names(folder, "v") if name[1:].isdigit()]


def publish(version: Path, manifest: Manifest) -> None:
    """Point to a version whose files are there, and drop those that nobody opens."""
    folder, before = version.parent, current(version.parent)
    files.publish(version / "manifest.json", manifest.to_json())
    files.publish(folder / _POINTER, files.to_json({"version": version.name}))
    for old in versions(folder):
        if old not in (before, version):  # readers may still have the one before open
            files.remove_tree(old)


def check_files(version: Path, manifest: Manifest, *, full: bool = False) -> None:
    """Compare both files with their digests before anything parses them.

    The whole files at the first opening on a machine; after that size, time and inode against a
    note in the user's cache folder, so that a mapped index opens at once.

    Raises:
        Refused: a file is missing or its bytes are not those that were written.
    """
    for name in FILES:
        path, wanted = version / name, manifest.files[name]
        if not path.exists():
            raise Refused(f"{path} is missing: build it again with `polyfuse index CONFIG`")
        path = files.local(path)
        note = _note(path)
        stamp = _stamp(path, wanted["sha256"])
        if not full and note.exists() and note.read_bytes() == stamp:
            continue
        if path.stat().st_size != wanted["bytes"] or files.sha256_of(path) != wanted["sha256"]:
            raise Refused(
                f"{path} is damaged: its bytes are not those of its manifest; "
                "build it again with `polyfuse index CONFIG`"
            )
        with contextlib.suppress(PolyfuseError):  # no writable cache: checked in full next time too
            files.publish(note, stamp)


def _stamp(path: Path, sha256: str) -> bytes:
    stat = path.stat()
    return files.to_json(
        {"sha256": sha256, "size": stat.st_size, "time": stat.st_mtime_ns, "inode": stat.st_ino}
    )


def _note(path: Path) -> Path:
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    return files.cache() / "checked" / f"{key}.json"
