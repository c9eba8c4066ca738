"""The run configuration: the only place that reads YAML.

Strict: an unknown key is an error with its dotted path and the nearest known name. Relative paths
are relative to the configuration file. What a component may be given is defined beside the
component (its `Options` dataclass) and validated here as strictly as our own keys.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

import encoders
import fusion
from encoders.base import EncoderSpec
from encoders.media.limits import Limits
from encoders.media.types import FramePolicy
from pipeline.errors import ConfigError

KINDS = ("image", "text", "audio", "video", "vector", "numeric", "categorical")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(value: Any) -> Any:
    """'512MB', '4GB', '178M' or a number -> int. Decimal units; anything else is left to pydantic."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?)B?\s*", value, re.IGNORECASE)
        if not match:
            raise ValueError(f"expected a size such as 512MB, got {value!r}")
        return int(float(match[1]) * _UNITS[match[2].upper()])
    return value


Size = Annotated[int, BeforeValidator(parse_size)]
ColumnType = Literal["string", "int", "float", "bool"]


class Strict(BaseModel):
    """Every section of the configuration: frozen, no unknown key."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceConfig(Strict):
    """Where the records are."""

    path: str
    id: str | None = None
    where: str | None = None
    types: dict[str, ColumnType] = {}


class ComponentConfig(BaseModel):
    """`{name: ..., option: ...}`: the options are checked against the component's own `Options`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the name."""
        return dict(self.model_extra or {})


class FramesConfig(Strict):
    """What to take from the pictures of a video."""

    every: float = Field(default=1.0, gt=0)
    max: int = Field(default=32, ge=1)
    encoder: ComponentConfig = ComponentConfig(name="hog-colour")
    pool: Literal["mean", "sequence"] = "mean"

    @property
    def policy(self) -> FramePolicy:
        """The part that decoding needs."""
        return FramePolicy(every=self.every, max=self.max)


class SoundConfig(Strict):
    """What to take from the sound track of a video."""

    encoder: ComponentConfig = ComponentConfig(name="logmel-stats")


class ModalityConfig(Strict):
    """One column of the source and how it becomes one vector (two for a video)."""

    kind: Literal["image", "text", "audio", "video", "vector", "numeric", "categorical"]
    column: str | None = None
    encoder: ComponentConfig | None = None
    frames: FramesConfig | None = None
    sound: SoundConfig | None = None

    @property
    def frame_policy(self) -> FramePolicy | None:
        """Which frames decoding takes; None for anything but a video."""
        return (self.frames or FramesConfig()).policy if self.kind == "video" else None


class ModelConfig(ComponentConfig):
    """A fusion: its name, the features it takes (default: all) and its own options."""

    inputs: tuple[str, ...] | None = None


class ShardConfig(Strict):
    """How large a unit of work may get."""

    records: int = Field(4096, ge=1)
    bytes: Size = 256_000_000


class LimitsConfig(Strict):
    """Caps on one medium; see `encoders.media.limits.Limits`."""

    bytes: Size = Limits.bytes
    pixels: Size = Limits.pixels
    frames: Size = Limits.frames
    seconds: float = Limits.seconds
    item_timeout: float = Field(Limits.item_timeout, gt=0)


class AllowConfig(Strict):
    """Remote media are fetched only from these schemes and hosts (buckets)."""

    schemes: tuple[str, ...] = ("file",)
    hosts: tuple[str, ...] = ()


class IndexConfig(Strict):
    """How the FAISS index is built."""

    metric: Literal["cosine", "ip", "l2"] = "cosine"
    memory: Size = 4_000_000_000


@dataclasses.dataclass(frozen=True)
class Feature:
    """One stored vector column: which stream of the decoded medium, which encoder, how pooled."""

    name: str
    modality: str
    stream: Literal["self", "frames", "sound"]
    encoder: EncoderSpec
    pool: Literal["mean", "sequence"] = "mean"


class RunConfig(Strict):
    """A whole run. `folder` is where relative paths start: the configuration file's."""

    source: SourceConfig
    modalities: dict[str, ModalityConfig]
    output: str
    models: dict[str, ModelConfig] = {"concat": ModelConfig(name="concat")}
    index: IndexConfig = IndexConfig()
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    workers: int | Literal["auto"] = "auto"
    max_error_rate: float = Field(0.1, ge=0, le=1)
    shard: ShardConfig = ShardConfig()
    limits: LimitsConfig = LimitsConfig()
    allow: AllowConfig = AllowConfig()

    def column(self, modality: str) -> str:
        """The source column of a modality; its own name where none is given."""
        return self.modalities[modality].column or modality

    def features(self, modality: str | None = None) -> list[Feature]:
        """The stored features, of one modality or of all, in the order of the configuration."""
        names = [modality] if modality else list(self.modalities)
        return [feature for name in names for feature in _features(name, self.modalities[name])]

    @property
    def media_limits(self) -> Limits:
        """The caps as decoding takes them."""
        return Limits(**self.limits.model_dump())


def _features(name: str, modality: ModalityConfig) -> Iterator[Feature]:
    if modality.kind != "video":
        component = modality.encoder or ComponentConfig(name=encoders.DEFAULTS[modality.kind])
        spec = EncoderSpec(modality.kind, component.name, component.options)
        yield Feature(name, name, "self", spec)
        return
    frames = modality.frames or FramesConfig()
    spec = EncoderSpec("image", frames.encoder.name, frames.encoder.options)
    yield Feature(f"{name}.frames", name, "frames", spec, frames.pool)
    if modality.sound:
        spec = EncoderSpec("audio", modality.sound.encoder.name, modality.sound.encoder.options)
        yield Feature(f"{name}.sound", name, "sound", spec)


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override (`a.b=c`), resolve and check a configuration file.

    Raises:
        ConfigError: the file can't be read, or a key or value is wrong; the message has its path.
    """
    file = Path(path)
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
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
        raise ConfigError(_explain(err)) from err
    _check_modalities(config)
    resolved = config.model_dump(exclude_none=True)
    resolved["source"]["path"] = _absolute(config.source.path, folder)
    resolved["output"] = _absolute(config.output, folder)
    for dotted, component, options in _components(resolved):
        _check_options(dotted, component, options, folder)
    return RunConfig.model_validate(resolved)


def _check_modalities(config: RunConfig) -> None:
    if not config.modalities:
        raise ConfigError("modalities: expected at least one, for example image: {kind: image}")
    for name, modality in config.modalities.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ConfigError(
                f"modalities.{name}: expected a name of letters, digits, '_' and '-' "
                "(it becomes a folder name)"
            )
        video_only = [key for key in ("frames", "sound") if getattr(modality, key)]
        if modality.kind == "video" and modality.encoder:
            raise ConfigError(
                f"modalities.{name}.encoder: a video has two encoders; "
                "give frames: {encoder: ...} and, for its sound, sound: {encoder: ...}"
            )
        if modality.kind != "video" and video_only:
            raise ConfigError(
                f"modalities.{name}.{video_only[0]}: only a modality of kind video has it; "
                f"this one is {modality.kind}"
            )
    known = [feature.name for feature in config.features()]
    for name, model in config.models.items():
        for wanted in model.inputs or ():
            if wanted not in known and wanted not in config.models:
                raise ConfigError(
                    f"models.{name}.inputs: {wanted!r} is no feature or model"
                    f"{_nearest(wanted, known)}; there are: {', '.join(known)}"
                )


def _components(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], type]]:
    """(dotted path, {name, options...}, its Options dataclass) for every component mentioned."""
    for name, modality in data["modalities"].items():
        places = [("encoder", modality["kind"], modality)]
        if modality["kind"] == "video":
            places = [
                ("encoder", kind, modality[part])
                for part, kind in (("frames", "image"), ("sound", "audio"))
                if part in modality
            ]
        for key, kind, holder in places:
            if key in holder:
                part = (
                    ""
                    if holder is modality
                    else next(p for p in modality if modality[p] is holder) + "."
                )
                dotted = f"modalities.{name}.{part}encoder"
                yield dotted, holder[key], _options_type(dotted, kind, holder[key]["name"])
    for name, model in data["models"].items():
        dotted = f"models.{name}"
        if model["name"] not in fusion.FUSIONS:
            raise ConfigError(_unknown(f"{dotted}.name", model["name"], fusion.FUSIONS))
        yield dotted, model, fusion.options_type(model["name"])


def _options_type(dotted: str, kind: str, name: str) -> type:
    fitting = [known for known, entry in encoders.ENCODERS.items() if kind in entry.targets]
    if name not in fitting:
        raise ConfigError(_unknown(f"{dotted}.name", name, fitting, f" for kind {kind}"))
    return encoders.options_type(kind, name)


def _check_options(dotted: str, component: dict[str, Any], options: type, folder: Path) -> None:
    """Check a component's own keys, and make the local paths among them absolute, in place."""
    fields = {field.name: field for field in dataclasses.fields(options)}
    for key in component:
        if key not in fields and key not in ("name", "inputs"):
            raise ConfigError(_unknown(f"{dotted}.{key}", key, fields, kind="key"))
    for key, field in fields.items():
        if key in component and field.metadata.get("location"):
            local = Path(folder, str(component[key])).expanduser()
            if local.exists():
                component[key] = str(local)
    values = {key: component[key] for key in fields if key in component}
    try:
        TypeAdapter(options).validate_python(values)
    except ValidationError as err:
        raise ConfigError(_explain(err, dotted)) from err
    except ValueError as err:
        raise ConfigError(f"{dotted}: {err}") from err


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
    section[last] = yaml.safe_load(text)


def _explain(err: ValidationError, prefix: str = "") -> str:
    """The first problem as one line; for an unknown key, the nearest known one."""
    problem = err.errors()[0]
    # In a union pydantic adds which of its types it tried: no key of ours.
    path = [str(part) for part in problem["loc"] if not re.match(r"(int|literal\[)", str(part))]
    dotted = ".".join(([prefix] if prefix else []) + path)
    if problem["type"] == "extra_forbidden":
        return _unknown(dotted, path[-1], _known_keys(path[:-1]), kind="key")
    if problem["type"] == "missing":
        return f"{dotted}: this key is required"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
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


def _unknown(
    dotted: str,
    given: str,
    known: Mapping[str, Any] | Sequence[str],
    what: str = "",
    kind: str = "name",
) -> str:
    names = ", ".join(sorted(known))
    return f"{dotted}: unknown {kind} {given!r}{what}{_nearest(given, known)}; known: {names}"


def _nearest(given: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = difflib.get_close_matches(given, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
