"""Reading a configuration file: the only place that reads YAML."""

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
        data = _read(file.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(f"can't read the configuration {file}: {err.strerror or err}") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
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
    if config.label and config.label.file:
        resolved["label"]["file"] = _absolute(config.label.file, folder)
    check_components(resolved, folder)
    return RunConfig.model_validate(resolved)


def _read(text: str) -> Any:
    return yaml.load(text, _Loader)


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
    section[last] = _read(text)
