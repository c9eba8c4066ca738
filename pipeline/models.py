"""What a model of the configuration takes and where vectors are. No torch: planning and status use it."""

from collections.abc import Mapping

from encoders.base import Identity
from pipeline.config import RunConfig
from pipeline.files import short_digest
from pipeline.store import PartFile


def inputs(config: RunConfig, model: str) -> list[str]:
    """The names a model takes: features, or earlier models. Default: every feature."""
    chosen = config.models[model].inputs
    return list(chosen) if chosen else [feature.name for feature in config.features()]


def folder_of(config: RunConfig, name: str) -> str:
    """Where the vectors of a feature or a model are."""
    return f"fused/{name}" if name in config.models else f"features/{name}"


def work_digest(identity: Identity, parts: Mapping[str, PartFile]) -> str:
    """What a fused part is made from: the model and the exact input parts."""
    data = {"model": identity.digest, "parts": {name: part.sha256 for name, part in parts.items()}}
    return short_digest(data)
