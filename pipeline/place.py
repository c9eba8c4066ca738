"""Where each modality runs: device and precision, fixed at planning, and what an actor asks for."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import encoders
from pipeline.cluster import Resources, resources_on
from pipeline.config import Feature
from pipeline.saved import SavedRun, Setting

Choose = Callable[[Feature], tuple[Setting, dict[str, Any]]]


def unsettled(saved: SavedRun, earlier: SavedRun | None) -> list[Feature]:
    """Features whose device and precision must be chosen: new ones, and those that were changed.

    Both decide the last bits of a vector, so they are chosen once, at planning, and kept: nodes of
    another class are not used for that modality afterwards.
    """
    if earlier is None:
        return saved.config.features()
    return [
        feature
        for feature in saved.config.features()
        if earlier.identities.get(feature.name) != saved.identities[feature.name]
        or earlier.settings.get(feature.name) != saved.settings[feature.name]
    ]


def is_network(feature: Feature) -> bool:
    """Whether its encoder has a precision and runs on a GPU where there is one."""
    return encoders.ENCODERS[feature.encoder.name].network


def settle(saved: SavedRun, earlier: SavedRun | None, choose: Choose) -> SavedRun:
    """Give every feature its setting, and keep beside it how the precision was found.

    Args:
        choose: (setting, record) of a network feature that is not settled; the others need none.
    """
    settings = dict(saved.settings)
    records = dict(earlier.provenance.get("precision", {})) if earlier else {}
    for feature in unsettled(saved, earlier):
        settings[feature.name] = Setting()
        records.pop(feature.name, None)
        if is_network(feature):
            settings[feature.name], records[feature.name] = choose(feature)
    kept = {name: record for name, record in records.items() if name in settings}
    provenance = {**saved.provenance, **({"precision": kept} if kept else {})}
    return dataclasses.replace(saved, settings=settings, provenance=provenance)


def by_resources(saved: SavedRun) -> dict[Resources, list[str]]:
    """Modalities that ask for the same actors, and so can share a pool."""
    groups: dict[Resources, list[str]] = defaultdict(list)
    for modality in saved.config.modalities:
        features = saved.config.features(modality)
        needs_gpu = any(saved.settings[feature.name].device == "cuda" for feature in features)
        groups[resources_on("cuda" if needs_gpu else "cpu")].append(modality)
    return dict(groups)
