"""Where each modality runs: device and precision, fixed at planning, and what an actor asks for."""

import dataclasses
from collections import defaultdict
from collections.abc import Collection

import encoders
from pipeline.cluster import Resources
from pipeline.config import Feature, RunConfig
from pipeline.saved import SavedRun, Setting


def settle(saved: SavedRun, known: Collection[str], gpus: int) -> SavedRun:
    """Give every feature its device and precision; those of an earlier command stay as they are.

    Device and precision decide the last bits of a vector, so they are chosen once, at planning,
    and kept: nodes of another class are not used for that modality afterwards.
    """
    settings = {
        feature.name: saved.settings[feature.name]
        if feature.name in known
        else choose(feature, saved.config, gpus)
        for feature in saved.config.features()
    }
    return dataclasses.replace(saved, settings=settings)


def choose(feature: Feature, config: RunConfig, gpus: int) -> Setting:
    """The setting of a feature that has none yet."""
    if not encoders.ENCODERS[feature.encoder.name].network:
        return Setting("fp32", "cpu")
    device = "cuda" if gpus else "cpu"
    return Setting("fp32" if config.precision == "auto" else config.precision, device)


def by_resources(saved: SavedRun) -> dict[Resources, list[str]]:
    """Modalities that ask for the same actors, and so can share a pool."""
    groups: dict[Resources, list[str]] = defaultdict(list)
    for modality in saved.config.modalities:
        features = saved.config.features(modality)
        needs_gpu = any(saved.settings[feature.name].device == "cuda" for feature in features)
        groups[Resources(cpus=1, gpus=1 if needs_gpu else 0)].append(modality)
    return dict(groups)
