"""What a configuration names, before anything runs: the source as it is opened, and identities."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import models
from pipeline.config import RunConfig
from pipeline.place import is_network
from pipeline.saved import SavedRun, Setting, identify_feature, provenance
from pipeline.sources import SourceSpec


def source_spec(config: RunConfig) -> SourceSpec:
    """The source as workers open it."""
    columns = tuple(dict.fromkeys(config.column(name) for name in config.modalities))
    return SourceSpec(config.source.path, config.source.id, dict(config.source.types), columns)


def describe(config: RunConfig, known: Mapping[str, Setting], run: Path | None = None) -> SavedRun:
    """Identities of everything the configuration names; settings as far as they are known.

    Models that are to be trained, and are not yet, have none.
    """
    from pipeline.fuse import identify as identify_model  # torch

    identities = {feature.name: identify_feature(feature) for feature in config.features()}
    for model in config.models:
        if models.wanted(config, model).objective is None:
            if all(name in identities for name in models.inputs(config, model)):
                identities[model] = identify_model(config, model, identities)
        elif run and (found := models.trained_identity(run, config, model, identities)):
            identities[model] = found
    settings = {feature.name: known.get(feature.name, Setting()) for feature in config.features()}
    asked: dict[str, Any] = {"precision": config.precision, "runtime": config.runtime}
    forced = {name: value for name, value in asked.items() if value != "auto"}
    for feature in filter(is_network, config.features()):
        settings[feature.name] = dataclasses.replace(settings[feature.name], **forced)
    return SavedRun(config, identities, settings, provenance())
