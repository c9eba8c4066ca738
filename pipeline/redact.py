"""Addresses as they may be shown and stored: without what lets somebody in."""

import re
from typing import Any

# user:secret@, also where the secret holds a slash, as those of AWS do; host:8080/ is none.
_USER = re.compile(r"(?<=://)(?:[^/@\s]+@|[^/:@\s]*:(?!\d+/)[^\s@]*@)")
# The query of a URI: signatures and tokens travel in it.
_QUERY = re.compile(r"(?<=\?)[^\s'\"<>)]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def redacted(text: str) -> str:
    """The text, the URIs in it without user, password and query."""
    text = _USER.sub("", text)
    return _URI.sub(lambda uri: _QUERY.sub("...", uri[0]), text)


def without_users(value: Any) -> Any:
    """A configuration without user:password@ in any of its texts; queries stay, for they may name files."""
    if isinstance(value, dict):
        return {key: without_users(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_users(item) for item in value]
    return _USER.sub("", value) if isinstance(value, str) else value
