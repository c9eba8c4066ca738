"""What a model of the configuration takes, is trained for, and leaves behind. No torch here."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fusion
from encoders.base import Identity
from fusion.heads import HEADS
from pipeline import files
from pipeline.config import ComponentConfig, RunConfig
from pipeline.files import short_digest
from pipeline.store import PartFile

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, OBJECTIVE, HISTORY = "model.safetensors", "objective.safetensors", "history.json"
METRICS = "metrics.json"
PROGRESS = "training.json"  # where a training stands, for whoever looks; gone when it has finished
HEAD = "head"  # the head's place among the models
_DAMAGED = "remove the folder of this model, and `polyfuse run CONFIG` makes it again"


@dataclass(frozen=True)
class Wanted:
    """A model as the configuration asks for it, a head being one that is neither fused nor indexed.

    objective: None: there is nothing to train. start: the model whose weights it begins with.
    frozen: those stay as they are. labelled: trained for the label, whose task names the objective.
    """

    name: str
    options: Mapping[str, Any]
    inputs: tuple[str, ...]
    objective: ComponentConfig | None
    training: Mapping[str, Any]
    start: str | None = None
    frozen: bool = False
    labelled: bool = False


def wanted(config: RunConfig, model: str) -> Wanted:
    """What the configuration asks of a model, or of the head."""
    if model == HEAD:
        return _head(config)
    own = config.models[model]
    default = fusion.FUSIONS[own.name].objective
    objective = own.objective or (ComponentConfig(name=default) if default else None)
    chosen = own.inputs or tuple(feature.name for feature in config.features())
    return Wanted(own.name, own.options, chosen, objective, own.training)


def _head(config: RunConfig) -> Wanted:
    head = config.head
    assert head is not None, "the configuration has no head"
    if head.on in config.models:
        base = wanted(config, head.on)
        start = head.on if head.fusion != "scratch" else None
    else:
        base = Wanted("stack", {}, (head.on,), None, {})
        start = None
    options = {**HEADS[head.name].options, **head.options}
    return Wanted(
        base.name,
        base.options,
        base.inputs,
        ComponentConfig(name=HEAD, **options),
        head.training,
        start,
        frozen=head.fusion == "frozen",
        labelled=True,
    )


def inputs(config: RunConfig, model: str) -> list[str]:
    """The names a model takes: features, or earlier models. Default: every feature."""
    return list(wanted(config, model).inputs)


def roots(config: RunConfig, model: str) -> list[str]:
    """The features a model goes back to, through whatever models are between."""
    found: dict[str, None] = {}
    for name in inputs(config, model):
        found |= dict.fromkeys(roots(config, name) if name in config.models else [name])
    return list(found)


def folder_of(config: RunConfig, name: str) -> str:
    """Where the vectors of a feature or a model are."""
    return f"fused/{name}" if name in config.models else f"features/{name}"


def trained_models(config: RunConfig) -> list[str]:
    """Everything of this configuration that is trained, in the order in which it can be."""
    models = [model for model in config.models if wanted(config, model).objective]
    return [*models, HEAD] if config.head else models


def needs_labels(config: RunConfig, model: str) -> bool:
    """Whether a model can't be trained without labels."""
    from fusion.objectives import OBJECTIVES  # torch

    own = wanted(config, model)
    if own.objective is None or own.labelled:
        return own.labelled
    if own.objective.options.get("label"):  # the label term of an autoencoder
        return True
    return "labels" in fusion.FUSIONS[own.name].needs | OBJECTIVES[own.objective.name].needs


def uses_labels(config: RunConfig, model: str) -> bool:
    """Whether a model learns from the labels that there are; a label term beside something else does."""
    objective = wanted(config, model).objective
    term = objective is not None and bool(objective.options.get("label"))
    return term or needs_labels(config, model)


def work_digest(identity: Identity, parts: Mapping[str, PartFile]) -> str:
    """What a fused part is made from: the model and the exact input parts."""
    data = {"model": identity.digest, "parts": {name: part.sha256 for name, part in parts.items()}}
    return short_digest(data)


def restore_digest(record: "Record", parts: Mapping[str, PartFile]) -> str:
    """What a restored part is made from: encoder, decoders and the exact input parts."""
    shas = {name: part.sha256 for name, part in parts.items()}
    return short_digest({"model": dict(record.files), "parts": shas})


def asked(config: RunConfig, model: str, identities: Mapping[str, Identity]) -> str | None:
    """Digest of what the configuration asks of a trained model, the data apart.

    None while a model that it takes or begins with is not trained itself. The number of workers is
    left out: it changes the last digits, and a trained model is not thrown away for those.
    """
    own = wanted(config, model)
    needed = [*own.inputs, *([own.start] if own.start else [])]
    if own.objective is None or any(name not in identities for name in needed):
        return None
    label = config.label.model_dump(exclude={"file"}) if config.label else None
    return short_digest(
        {
            "name": own.name,
            "options": own.options,
            "inputs": {name: identities[name].digest for name in needed},
            "objective": own.objective.model_dump(),
            "training": {key: value for key, value in own.training.items() if key != "workers"},
            "frozen": own.frozen,
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
        return cls.of(run / "models" / model)

    @classmethod
    def of(cls, folder: Path) -> "Record | None":
        """What is known of the model in a folder, wherever that has been copied to."""
        return cls.known(folder) if (folder / "config.json").exists() else None

    @classmethod
    def known(cls, folder: Path) -> "Record":
        """The same of a folder that holds one.

        Raises:
            PolyfuseError: config.json is missing or damaged.
        """
        return files.read_as(cls, folder / "config.json", _DAMAGED)

    def weights(self, folder: Path, name: str) -> "dict[str, Tensor]":
        """One safetensors file of the model, its bytes compared with their digest first.

        Raises:
            PolyfuseError: it is missing or damaged.
        """
        from safetensors.torch import load  # torch

        path = folder / name
        raw = files.read_all([path])[0] or b""
        if hashlib.sha256(raw).hexdigest() != self.files.get(name):
            raise files.damaged(path, "its bytes are not those that were written", _DAMAGED)
        return load(raw)

    def damaged(self, folder: Path) -> list[str]:
        """The files of the model that are missing or hold other bytes than were written."""
        return [
            name
            for name, digest in self.files.items()
            if not files.has_digest(folder / name, digest)
        ]


def trained_identity(
    run: Path, config: RunConfig, model: str, identities: Mapping[str, Identity]
) -> Identity | None:
    """The identity of a model that was trained as the configuration asks; None where it was not."""
    record = Record.read(run, model)
    if record is None or record.trained is None:
        return None
    if record.trained.asked != asked(config, model, identities):
        return None
    return record.identity
