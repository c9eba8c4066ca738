"""From the path in the configuration to the files it means and the kind they are of."""

import difflib
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.redact import redacted

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
FILES = (*TABLES, ".tar")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class Location:
    """root: where relative paths start; files: relative to it, sorted; kind: their extension, or
    "folder" for a media folder (which has no list of files)."""

    root: Path
    files: tuple[str, ...]
    kind: str


def discover(path: str) -> Location:
    """Resolve a file, a folder, a glob or a brace expansion.

    Raises:
        ConfigError: nothing is there, or it is of no kind that a source can be.
    """
    if "://" in path:
        raise ConfigError(
            f"source.path: {redacted(path)} is remote; expected a local or mounted path "
            "(media may be remote, the table of records may not)"
        )
    if os.path.isdir(path):
        return _folder(Path(path))
    if os.path.isfile(path):
        return _of_one_kind(path, Path(path).parent, [path])
    if not re.search(r"[*?\[{]", path):
        raise ConfigError(f"source.path: {path} does not exist{_neighbour(Path(path))}")
    expanded = list(_expand(path))
    found = sorted({name for pattern in expanded for name in _matches(pattern)})
    if not found:
        raise ConfigError(f"source.path: no file matches {path}")
    return _of_one_kind(path, _fixed_part(path), found)


def _folder(folder: Path) -> Location:
    """A folder is a table's or a tar set's when nothing else is in it, else a media folder."""
    kinds = set()
    for entry in os.scandir(folder):
        if entry.name.startswith((".", "_", "README", "LICENSE")):
            continue
        suffix = os.path.splitext(entry.name)[1].lower()
        kinds.add(suffix if entry.is_file() and suffix in FILES else "folder")
        if len(kinds) > 1 or "folder" in kinds:  # a corpus of millions is not listed for this
            return Location(folder, (), "folder")
    if not kinds:
        raise ConfigError(f"source.path: the folder {folder} is empty")
    kind = kinds.pop()
    names = (name for name in os.listdir(folder) if not name.startswith((".", "_", "README")))
    files = sorted(name for name in names if name.lower().endswith(kind))
    return Location(folder, tuple(files), kind)


def _of_one_kind(path: str, root: Path, found: list[str]) -> Location:
    kinds = {os.path.splitext(name)[1].lower() for name in found}
    if len(kinds) > 1:
        raise ConfigError(
            f"source.path: {path} mixes {', '.join(sorted(kinds))}; expected one kind"
        )
    kind = kinds.pop()
    if kind not in FILES:
        hint = "; uncompress it first" if kind in (".gz", ".bz2", ".xz", ".zst", ".zip") else ""
        raise ConfigError(
            f"source.path: {path} ends in {kind or 'no extension'}; "
            f"expected {', '.join(FILES)} or a folder of media{hint}"
        )
    return Location(root, tuple(os.path.relpath(name, root) for name in found), kind)


def _expand(pattern: str) -> Iterator[str]:
    """`{000..099}` and `{a,b}`, as a shell expands them."""
    braces = _BRACES.search(pattern)
    if not braces:
        yield pattern
        return
    inner = braces[1]
    if bounds := _RANGE.fullmatch(inner):
        first, last = bounds.groups()
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        choices = [str(n).zfill(width) for n in range(int(first), int(last) + 1)]
    else:
        choices = inner.split(",")
    for choice in choices:
        yield from _expand(pattern[: braces.start()] + choice + pattern[braces.end() :])


def _matches(pattern: str) -> list[str]:
    """The files of one expanded pattern; without a wildcard the file must be there."""
    if glob.has_magic(pattern):
        return [name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name)]
    if not os.path.isfile(pattern):
        raise ConfigError(f"source.path: {pattern} does not exist (the pattern asks for it)")
    return [pattern]


def _fixed_part(pattern: str) -> Path:
    """The folder above the first part of the pattern that varies."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if re.search(r"[*?\[{]", part))
    return Path(*parts[:fixed])


def _neighbour(path: Path) -> str:
    """What the folder does hold, for the error of a missing path."""
    if not path.parent.is_dir():
        return f"; neither does the folder {path.parent}"
    names = sorted(entry.name for entry in islice(os.scandir(path.parent), 1000))
    close = difflib.get_close_matches(path.name, names, n=1)
    if close:
        return f", did you mean {close[0]}?"
    return f"; {path.parent} has: {', '.join(names[:10]) or 'nothing'}"
