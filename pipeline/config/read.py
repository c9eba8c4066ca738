"""Reading a configuration file: the only place that reads YAML."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.config.check import check_components, check_names
from pipeline.config.explain import explain
from pipeline.config.schema import RunConfig
from pipeline.errors import ConfigError

_VALUES, _DEPTH = 100_000, 50  # of a configuration


class _Loader(yaml.SafeLoader):
    """Booleans are true and false, as in YAML 1.2: `on` is a key of `head`, and `no` is Norwegian."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, found) for tag, found in resolvers if tag != "tag:yaml.org,2002:bool"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override (`a.b=c`), resolve and check a configuration file.

    Raises:
        ConfigError: the file can't be read, or a key or value is wrong; the message has its path.
    """
    file = Path(path)
    try:
        data = parse_yaml(file.read_text(encoding="utf-8"), _Loader)
    except OSError as err:
        raise ConfigError(f"can't read the configuration {file}: {err.strerror or err}") from err
    except (yaml.YAMLError, ValueError) as err:  # a time that is none, bytes that are no text
        raise ConfigError(f"{file} is not valid YAML: {' '.join(str(err).split())}") from err
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: expected a mapping with source, modalities and output")
    for override in overrides:
        _override(data, override)
    return parse(data, file.resolve().parent)


def parse(data: Mapping[str, Any], folder: Path) -> RunConfig:
    """A mapping -> checked configuration with absolute paths; `folder` is where relative ones start."""
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as err:
        raise ConfigError(explain(err)) from err
    check_names(config)
    resolved = config.model_dump(exclude_none=True)
    resolved["source"]["path"] = _absolute(config.source.path, folder)
    resolved["output"] = _absolute(config.output, folder)
    resolved["allow"]["folders"] = [_absolute(name, folder) for name in config.allow.folders]
    if config.label and config.label.file:
        resolved["label"]["file"] = _absolute(config.label.file, folder)
    check_components(resolved, folder)
    return RunConfig.model_validate(resolved)


def parse_yaml(text: str, kind: Any) -> Any:
    """The one document of a YAML text; `kind` is a safe loader.

    Raises:
        yaml.YAMLError: it is no YAML, or its aliases unfold to more values than a person wrote.
    """
    _check_depth(text, kind)
    loader = kind(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _unfolded(node, {}) > _VALUES:
            raise yaml.YAMLError(f"its aliases unfold to more than {_VALUES:,} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_depth(text: str, kind: Any) -> None:
    """Composing recurses, in C past the end of the stack; reading events does not."""
    depth = 0
    for event in yaml.parse(text, kind):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise yaml.YAMLError(f"it is nested more than {_DEPTH} deep")


def _unfolded(node: yaml.Node, known: dict[int, float]) -> float:
    """Values below a node, those behind an alias as often as it is used; infinite for a circle."""
    if id(node) not in known:
        known[id(node)] = math.inf
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        pairs = (
            itertools.chain.from_iterable(inner) if isinstance(node, yaml.MappingNode) else inner
        )
        known[id(node)] = 1 + sum(_unfolded(child, known) for child in pairs)
    return known[id(node)]


def _absolute(value: str, folder: Path) -> str:
    return value if "://" in value else str(Path(folder, Path(value).expanduser()))


def _override(data: dict[str, Any], override: str) -> None:
    dotted, sign, text = override.partition("=")
    if not sign:
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for example --set workers=2")
    *path, last = dotted.split(".")
    section = data
    for key in path:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {dotted}: {key} is a value, not a section")
    try:
        section[last] = parse_yaml(text, _Loader)
    except (yaml.YAMLError, ValueError) as err:
        raise ConfigError(f"--set {override}: {' '.join(str(err).split())}") from err
