"""What a model of the configuration takes, is trained for, and leaves behind. No torch here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fusion
from encoders.base import Identity
from pipeline import files
from pipeline.config import ComponentConfig, RunConfig
from pipeline.files import short_digest
from pipeline.store import PartFile

WEIGHTS, OBJECTIVE, HISTORY = "model.safetensors", "objective.safetensors", "history.json"


def inputs(config: RunConfig, model: str) -> list[str]:
    """The names a model takes: features, or earlier models. Default: every feature."""
    chosen = config.models[model].inputs
    return list(chosen) if chosen else [feature.name for feature in config.features()]


def roots(config: RunConfig, model: str) -> list[str]:
    """The features a model goes back to, through whatever models are between."""
    found: dict[str, None] = {}
    for name in inputs(config, model):
        found |= dict.fromkeys(roots(config, name) if name in config.models else [name])
    return list(found)


def folder_of(config: RunConfig, name: str) -> str:
    """Where the vectors of a feature or a model are."""
    return f"fused/{name}" if name in config.models else f"features/{name}"


def objective_of(config: RunConfig, model: str) -> ComponentConfig | None:
    """What a model is trained for; None where there is nothing to train."""
    own = config.models[model]
    default = fusion.FUSIONS[own.name].objective
    return own.objective or (ComponentConfig(name=default) if default else None)


def needs_labels(config: RunConfig, model: str) -> bool:
    """Whether a model learns from labels."""
    from fusion.objectives import OBJECTIVES  # torch

    objective = objective_of(config, model)
    needs = fusion.FUSIONS[config.models[model].name].needs
    return objective is not None and "labels" in needs | OBJECTIVES[objective.name].needs


def learns(config: RunConfig) -> bool:
    """Whether anything of this configuration is trained."""
    return any(objective_of(config, model) for model in config.models)


def work_digest(identity: Identity, parts: Mapping[str, PartFile]) -> str:
    """What a fused part is made from: the model and the exact input parts."""
    data = {"model": identity.digest, "parts": {name: part.sha256 for name, part in parts.items()}}
    return short_digest(data)


def asked(config: RunConfig, model: str, identities: Mapping[str, Identity]) -> str | None:
    """Digest of what the configuration asks of a trained model, the data apart.

    None while an input is a model that is not trained itself. The number of workers is left out:
    it changes the last digits, and a trained model is not thrown away for those.
    """
    names = inputs(config, model)
    objective = objective_of(config, model)
    if objective is None or any(name not in identities for name in names):
        return None
    own = config.models[model]
    label = config.label.model_dump(exclude={"file"}) if config.label else None
    return short_digest(
        {
            "name": own.name,
            "options": own.options,
            "inputs": {name: identities[name].digest for name in names},
            "objective": objective.model_dump(),
            "training": {key: value for key, value in own.training.items() if key != "workers"},
            "split": config.split.model_dump(),
            "label": label,
        }
    )


@dataclass(frozen=True)
class Trained:
    """How a model was trained.

    asked, data: digests of the settings and of the exact parts it learned from; step: of the weights
    that were kept; valid: their loss on the validation part; rows: {part of the split: records}.
    """

    asked: str
    data: str
    steps: int
    step: int
    valid: float | None
    stopped_early: bool
    workers: int
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Record:
    """RUN/models/<model>/config.json: all that is needed to build the model again.

    files: {name: sha256} of everything else in the folder. labels: task and classes.
    """

    name: str
    dims: Mapping[str, int]
    options: Mapping[str, Any]
    identity: Identity
    files: Mapping[str, str]
    objective: Mapping[str, Any] | None = None
    labels: Mapping[str, Any] | None = None
    trained: Trained | None = None
    inputs: tuple[str, ...] = ()

    def write(self, run: Path, model: str) -> None:
        """Publish; last of the model's files, for it names the others."""
        path = run / "models" / model / "config.json"
        files.publish(path, files.to_json(dataclasses.asdict(self)))

    @classmethod
    def read(cls, run: Path, model: str) -> "Record | None":
        """What is known of a model; None where the run has none of this name."""
        path = run / "models" / model / "config.json"
        if not path.exists():
            return None
        data = files.read_json(path)
        data.pop("format")
        data["identity"] = Identity(**data["identity"])
        data["trained"] = Trained(**data["trained"]) if data["trained"] else None
        data["inputs"] = tuple(data["inputs"])
        return cls(**data)

    def damaged(self, folder: Path) -> list[str]:
        """The files of the model that are missing or hold other bytes than were written."""
        return [
            name
            for name, digest in self.files.items()
            if not (folder / name).exists() or files.sha256_of(folder / name) != digest
        ]


def trained_identity(
    run: Path, config: RunConfig, model: str, identities: Mapping[str, Identity]
) -> Identity | None:
    """The identity of a model that was trained as the configuration asks; None where it was not."""
    record = Record.read(run, model)
    wanted = asked(config, model, identities)
    if record is None or record.trained is None or record.trained.asked != wanted:
        return None
    return record.identity
