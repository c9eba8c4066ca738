"""RUN/config.yaml: the resolved configuration, the identities and the versions a run was made with.

The identity of the work is the source, the limits and, per modality, its encoders, precision and
device. Workers, address, memory and progress settings may change freely between two commands.
"""

import dataclasses
import functools
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

import encoders
from encoders.base import EncoderSpec, Identity
from pipeline import files
from pipeline.config import Feature, RunConfig
from pipeline.config.check import check_names
from pipeline.config.explain import explain
from pipeline.config.read import parse_yaml
from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.redact import without_users

# In C where PyYAML has it, many times faster.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_LIBRARIES = (
    "torch",
    "transformers",
    "openvino",
    "torchaudio",
    "numpy",
    "pillow",
    "av",
    "pyarrow",
    "faiss-cpu",
    "ray",
)


@dataclass(frozen=True)
class Setting:
    """How one feature is computed, fixed at planning: precision, device type, by whom, and in batches
    of how many times the encoder's own size."""

    precision: str = "fp32"
    device: str = "cpu"
    runtime: str = "torch"
    batch: int = 1

    def __str__(self) -> str:
        by = "" if self.runtime == "torch" else f" by {self.runtime}"
        times = "" if self.batch == 1 else f", batches x {self.batch}"
        return f"{self.precision} on {self.device}{by}{times}"

    def to_dict(self) -> dict[str, Any]:
        """As it is written and compared; what was so before there was a choice goes without saying."""
        usual = {"runtime": "torch", "batch": 1}
        return {k: v for k, v in dataclasses.asdict(self).items() if usual.get(k) != v}


@dataclass(frozen=True)
class SavedRun:
    """What config.yaml of a run says.

    identities: by feature and by model name; settings: by feature; provenance: library versions
    and machine class, shown but not compared.
    """

    config: RunConfig
    identities: Mapping[str, Identity]
    settings: Mapping[str, Setting]
    provenance: Mapping[str, Any]

    def work(self, modality: str) -> str:
        """Digest of everything that decides the bytes of one modality's parts."""
        return self._works[modality]

    @functools.cached_property
    def _works(self) -> dict[str, str]:
        """By modality: asked for once per shard."""
        common = _common(self.config)
        return {
            name: files.short_digest({"common": common, "modality": self._modality(name)})
            for name in self.config.modalities
        }

    def _modality(self, name: str) -> dict[str, Any]:
        own = self.config.modalities[name]
        frames = own.frame_policy
        return {
            "kind": own.kind,
            "column": self.config.column(name),
            "frames": dataclasses.asdict(frames) if frames else None,
            "features": {
                feature.name: {
                    "identity": self.identities[feature.name].digest,
                    "setting": self.settings[feature.name].to_dict(),
                    "pool": feature.pool,
                }
                for feature in self.config.features(name)
            },
        }

    def to_yaml(self) -> str:
        """The file's text."""
        data = {
            "format": files.FORMAT,
            "config": self.config.model_dump(mode="json", exclude_none=True),
            "identities": {n: dataclasses.asdict(i) for n, i in self.identities.items()},
            "settings": {n: s.to_dict() for n, s in self.settings.items()},
            "provenance": dict(self.provenance),
        }
        return yaml.dump(without_users(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class _File:
    """RUN/config.yaml as it is written."""

    config: dict[str, Any]
    identities: dict[str, Identity]
    settings: dict[str, Setting]
    provenance: dict[str, Any]


def load_saved(run: Path) -> SavedRun:
    """Read RUN/config.yaml.

    Raises:
        PolyfuseError: the folder holds no run, or the file is damaged.
    """
    path = run / "config.yaml"
    if not path.exists():
        raise PolyfuseError(
            f"{run} holds no run (no config.yaml in it): give the folder named `output` in the configuration"
        )
    advice = "restore it from a copy"
    try:
        data = parse_yaml(files.read(path).decode(), _Loader)
    except OSError as err:
        raise PolyfuseError(f"can't read {path}: {err.strerror}") from err
    except (yaml.YAMLError, ValueError) as err:
        raise files.damaged(path, "it is no YAML", advice) from err
    stored = files.typed(_File, data, path, advice)
    config = {**stored.config, "output": str(run.resolve())}  # the run may have been moved
    try:
        saved = SavedRun(
            RunConfig.model_validate(config), stored.identities, stored.settings, stored.provenance
        )
    except ValidationError as err:
        raise files.damaged(path, f"config.{explain(err)}", advice) from err
    check_names(saved.config)
    for feature in saved.config.features():
        if feature.name not in saved.identities or feature.name not in saved.settings:
            raise files.damaged(path, f"it does not say how {feature.name} is computed", advice)
    return saved


def identify_feature(feature: Feature) -> Identity:
    """The identity of a feature's encoder; the user's mistakes become one line with the feature's name."""
    return identify(feature.name, feature.encoder)


def identify(name: str, spec: EncoderSpec) -> Identity:
    """`encoders.identify`, its ValueError turned into a configuration error that names the place."""
    try:
        return encoders.identify(spec)
    except (ValueError, OSError) as err:
        raise ConfigError(f"{name}: {err}") from err


def provenance() -> dict[str, Any]:
    """Versions and machine class: why two runs may differ in their last bits."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}


def refuse_changes(old: SavedRun, new: SavedRun) -> None:
    """Compare what decides the bytes; a new modality is no change, for it spoils nothing.

    Raises:
        Refused: with each difference shown, and what to do.
    """
    before, after = _common(old.config), _common(new.config)
    changes = [
        f"{key}: was {before[key]!r}, now {after[key]!r}"
        for key in before
        if before[key] != after[key]
    ]
    for name in old.config.modalities:
        if name not in new.config.modalities:
            changes.append(f"modalities.{name}: was there, now gone")
            continue
        changes += _differences(f"modalities.{name}", old._modality(name), new._modality(name))
        for feature in old.config.features(name):
            ours, theirs = old.identities[feature.name], new.identities.get(feature.name)
            if theirs and ours != theirs:
                changes += _differences(
                    f"{feature.name} encoder", dataclasses.asdict(ours), dataclasses.asdict(theirs)
                )
    if changes:
        raise Refused(
            f"{new.config.output} was made with other settings:\n  "
            + "\n  ".join(changes)
            + "\nuse --update to recompute what this touches, --restart to start over, or another output"
        )


def _differences(place: str, before: Any, after: Any) -> list[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = [
            key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)
        ]
        return [
            line
            for key in keys
            for line in _differences(f"{place}.{key}", before.get(key), after.get(key))
        ]
    return [f"{place}: was {before!r}, now {after!r}"]


def _common(config: RunConfig) -> dict[str, Any]:
    # Not the path: the plan knows the source by its content, wherever it lies today.
    return {
        "source.id": config.source.id,
        "source.where": config.source.where,
        "source.types": config.source.types,
        "limits": config.limits.model_dump(),
    }
