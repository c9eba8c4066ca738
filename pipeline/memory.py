"""Models that would not fit into their memory are refused before anything runs."""

import dataclasses
from collections.abc import Mapping

import fusion
from encoders.base import Identity
from pipeline.config import RunConfig
from pipeline.errors import ConfigError
from pipeline.models import wanted


def check_memory(config: RunConfig, identities: Mapping[str, Identity]) -> None:
    """Hold every model against its `memory`.

    One that takes a model not trained yet has inputs of unknown length, one with an option that the
    labels settle (decision fusion: a classifier per feature) unknown sizes: they are not checked.

    Raises:
        ConfigError: with the number, and the nearest rank or dimension that fits.
    """
    for model, own in config.models.items():
        asked = wanted(config, model)
        if asked.objective is None:
            continue  # no weights: as large as its inputs, and not worth importing torch for
        from pipeline.fit.recipe import Training

        options = dataclasses.fields(fusion.options_type(own.name))
        if "classes" in {field.name for field in options}:
            continue
        if any(name not in identities for name in asked.inputs):
            continue
        try:
            fusion.afford(
                own.name,
                {name: identities[name].dim for name in asked.inputs},
                memory=own.memory,
                batch=Training(**asked.training).batch,
                training=True,
                **own.options,
            )
        except ValueError as err:
            raise ConfigError(f"models.{model}: {err}; or give it more memory: 8GB") from err
