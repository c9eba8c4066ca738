"""From a cell to the bytes of its medium: tar members, local files, and remote ones where allowed.

Messages show the cell as it was given, without passwords and signatures, and never where this
machine keeps it.
"""

import os
import stat
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from pipeline.bucket import EXTRAS
from pipeline.redact import redacted
from pipeline.sources import web
from pipeline.sources.base import Member

REMOTE = ("s3", "gs", "https")
_SHOWN = 200


class Allow(Protocol):
    """Which remote places may be read: `pipeline.config.AllowConfig`."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """URI schemes; "file" stands for local paths."""
        ...

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts, with their port where it is not 443, or buckets."""
        ...

    @property
    def folders(self) -> tuple[str, ...]:
        """Local media must lie in one of these; none: anywhere."""
        ...

    @property
    def private(self) -> bool:
        """Whether hosts may be addresses of this machine or of a private network."""
        ...


def fetch(cell: str | bytes | Member, root: Path, limits: Limits, allow: Allow) -> bytes:
    """The medium's bytes, at most `limits.bytes` of them.

    Args:
        cell: bytes, a tar member, a path (relative ones start at `root`) or a URI with the scheme
            file, s3, gs or https.
        root: the source's root.
        limits: larger media are refused before they are read.
        allow: schemes and hosts that may be read.

    Raises:
        MediaError: NOT_FOUND, FETCH_ERROR, REFUSED or TOO_LARGE.
    """
    if isinstance(cell, bytes):
        _check_size(len(cell), limits, "the cell")
        return cell
    if isinstance(cell, Member):
        return _read_file(Path(cell.path), cell.name, limits, cell)
    shown = redacted(cell)
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
    if "://" in cell:
        scheme, host, path = _split_uri(cell, shown)
        if scheme != "file":
            _check_allowed(scheme, host, shown, allow)
            if scheme == "https":
                return web.fetch(urlsplit(cell), shown, limits.bytes, private=allow.private)
            return _read_bucket(cell, scheme, shown, limits)
        local = path
    else:
        local = cell
    if "file" not in allow.schemes:
        raise MediaError(Reason.REFUSED, f"{shown}: allow.schemes does not list file")
    return _read_file(_inside(root / local, shown, allow), shown, limits)


def _inside(path: Path, shown: str, allow: Allow) -> Path:
    """The file itself, where local media are confined to folders: links are followed first."""
    if not allow.folders:
        return path
    try:
        real = path.resolve()
    except (OSError, ValueError, RuntimeError):  # a circle of links, a name that can be none
        return path
    if not any(real.is_relative_to(Path(folder).resolve()) for folder in allow.folders):
        raise MediaError(Reason.REFUSED, f"{shown} is in none of allow.folders")
    return real


def _split_uri(uri: str, shown: str) -> tuple[str, str, str]:
    """(scheme, host, local path). Whatever two parsers could read differently is refused."""
    if any(sign in uri for sign in "\\ ") or not uri.isprintable():
        raise MediaError(Reason.REFUSED, f"{shown!r} holds a character that a URI must escape")
    if "::" in uri.partition("://")[2].partition("/")[2] or "::" in uri.partition("://")[0]:
        raise MediaError(
            Reason.REFUSED, f"{shown}: chained URIs are not read"
        )  # by fsspec they are
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
        port = parts.port
    except ValueError as err:
        raise MediaError(Reason.REFUSED, f"{shown} is not a valid URI") from err
    if parts.scheme == "file":
        if host not in ("", "localhost"):
            raise MediaError(Reason.REFUSED, f"{shown}: a file URI names no host")
        return "file", "", unquote(parts.path)
    if parts.username or parts.password:
        raise MediaError(Reason.REFUSED, f"a {parts.scheme} URI with a user name or password in it")
    # Bucket names are case-sensitive in the URI, host names are not.
    if parts.scheme != "https":
        return parts.scheme, parts.netloc, ""
    return parts.scheme, host if port in (None, 443) else f"{host}:{port}", ""


def _check_allowed(scheme: str, host: str, shown: str, allow: Allow) -> None:
    if scheme not in REMOTE:
        raise MediaError(
            Reason.REFUSED, f"{shown}: unknown scheme {scheme!r}; known: file, {', '.join(REMOTE)}"
        )
    if scheme not in allow.schemes:
        raise MediaError(
            Reason.REFUSED, f"{shown}: remote fetching is off; add {scheme} to allow.schemes"
        )
    if host not in allow.hosts:
        raise MediaError(
            Reason.REFUSED, f"{shown}: the host is not allowed; add {host!r} to allow.hosts"
        )


def _check_size(size: int, limits: Limits, shown: str) -> None:
    if size > limits.bytes:
        raise MediaError(
            Reason.TOO_LARGE, f"{shown} has {size} bytes; limits.bytes is {limits.bytes}"
        )


def _read_file(path: Path, shown: str, limits: Limits, part: Member | None = None) -> bytes:
    """A local file or a part of one; anything but a regular file is never opened."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "special file"
            raise MediaError(Reason.REFUSED, f"{shown} is a {kind}; expected a regular file")
        size = part.size if part else status.st_size
        _check_size(size, limits, shown)
        # Non-blocking: had a pipe taken the file's place, open() would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            file.seek(part.offset if part else 0)
            content = file.read(size)
    except (FileNotFoundError, NotADirectoryError) as err:
        raise MediaError(Reason.NOT_FOUND, f"{shown} does not exist") from err
    except OSError as err:
        raise MediaError(Reason.FETCH_ERROR, f"can't read {shown}: {err.strerror}") from err
    except ValueError as err:  # NUL or half a surrogate pair
        raise MediaError(Reason.NOT_FOUND, f"{shown!r} can't be a file name") from err
    if len(content) != size:
        raise MediaError(Reason.FETCH_ERROR, f"{shown}: got {len(content)} of {size} bytes")
    return content


def _read_bucket(uri: str, scheme: str, shown: str, limits: Limits) -> bytes:
    import fsspec  # here: local runs never need it

    try:
        with fsspec.open(uri, "rb") as file:
            _check_size(getattr(file, "size", None) or 0, limits, shown)
            return _read_capped(file, shown, limits)
    except ImportError as err:
        raise MediaError(
            Reason.FETCH_ERROR,
            f"{shown}: reading {scheme}:// needs pip install 'polyfuse[{EXTRAS[scheme]}]'",
        ) from err
    except FileNotFoundError as err:
        raise MediaError(Reason.NOT_FOUND, f"{shown} does not exist") from err
    except MediaError:
        raise
    except Exception as err:  # each backend has errors of its own, with no common base
        raise MediaError(Reason.FETCH_ERROR, f"can't fetch {shown}: {type(err).__name__}") from err


def _read_capped(file: IO[bytes], shown: str, limits: Limits) -> bytes:
    """All of it; a stated size may be missing or a lie."""
    content = file.read(limits.bytes + 1)
    _check_size(len(content), limits, shown)
    return content
