"""A wrong key or value as one line, with its dotted path and the nearest known name."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.config.schema import RunConfig


def explain(err: ValidationError, prefix: str = "") -> str:
    """The first problem as one line; for an unknown key, the nearest known one."""
    problem = err.errors()[0]
    # In a union pydantic adds which of its types it tried: no key of ours.
    path = [str(part) for part in problem["loc"] if not re.match(r"(int|literal\[)", str(part))]
    dotted = ".".join(([prefix] if prefix else []) + path)
    if problem["type"] == "extra_forbidden":
        return unknown(dotted, path[-1], _known_keys(path[:-1]), kind="key")
    if problem["type"] == "missing":
        return f"{dotted}: this key is required"
    given = problem["input"]
    if problem["type"] == "model_type":
        keys = ", ".join(_known_keys(path))
        return f"{dotted}: expected a mapping of {keys}, got {given!r}"
    message = problem["msg"].removeprefix("Value error, ")
    shown = f", got {given!r}" if not isinstance(given, dict) else ""
    return f"{dotted}: {message}{'' if 'got' in message else shown}"


def _known_keys(path: list[str]) -> list[str]:
    """The keys that the section at `path` may have; the free names of modalities are skipped."""
    model: type[BaseModel] = RunConfig
    for key in path:
        annotation = model.model_fields[key].annotation if key in model.model_fields else None
        for candidate in (annotation, *getattr(annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return list(model.model_fields)


def unknown(
    dotted: str,
    given: str,
    known: Mapping[str, Any] | Sequence[str],
    what: str = "",
    kind: str = "name",
) -> str:
    """The sentence about a key or name that there is not."""
    names = ", ".join(sorted(known))
    return f"{dotted}: unknown {kind} {given!r}{what}{nearest(given, known)}; known: {names}"


def nearest(given: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """ ", did you mean ...?" where something is close."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
