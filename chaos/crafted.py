"""Files that are well-formed and wrong: one value of a JSON or YAML file becomes another."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import yaml

from pipeline import files

HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 1e300, "", "x", "../../x", "/etc/passwd", "a\0b", [], {}, [[]]),
    *({"name": "x"}, ["x"], "v0000001", "file:///etc/passwd"),
)


def changed(path: Path, raw: bytes, dice: random.Random) -> bytes | None:
    """The file with one value replaced, taken away or added; sealed again if it is one of ours."""
    if path.suffix == ".json":
        data = json.loads(raw)
        data.pop("sha256", None)
        _change(data, dice)
        return files.to_json(data)
    if path.suffix == ".yaml":
        data = yaml.safe_load(raw)
        _change(data, dice)
        return yaml.safe_dump(data, sort_keys=False).encode()
    return None


def is_sealed(path: Path, raw: bytes) -> bool:
    """Whether a JSON file carries a right digest: then it was crafted, and is what it says."""
    body, _, rest = raw.rpartition(b',\n "sha256": "')
    return path.suffix == ".json" and rest[:64] == hashlib.sha256(body).hexdigest().encode()


def _change(data: Any, dice: random.Random) -> None:
    places = list(_places(data))
    holder, key = dice.choice(places)
    how = dice.random()
    if how < 0.15 and isinstance(holder, dict):
        del holder[key]
    elif how < 0.25 and isinstance(holder, dict):
        holder[str(dice.choice(HOSTILE))] = dice.choice(HOSTILE)
    else:
        holder[key] = dice.choice(HOSTILE)


def _places(data: Any) -> Any:
    """Every (mapping or list, key) below."""
    for key in data if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _places(data[key])
