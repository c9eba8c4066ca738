"""What types alone can't say: names that must exist, and the options of every component."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import encoders
import fusion
from fusion.heads import HEADS
from pipeline.config.explain import explain, nearest, unknown
from pipeline.config.schema import RunConfig
from pipeline.errors import ConfigError

_FROM_LABELS = ("classes", "outputs")  # options that the labels settle, never the user


def check_names(config: RunConfig) -> None:
    """The names that must exist, and those that become folders.

    Raises:
        ConfigError: with the dotted path.
    """
    if not config.modalities:
        raise ConfigError("modalities: expected at least one, for example image: {kind: image}")
    for name in config.modalities:
        _check_folder(f"modalities.{name}", name)
        _check_video(config, name)
    _check_registered(config)
    known = [feature.name for feature in config.features()]
    _check_compared(config.compare.inputs, known)
    for name, model in config.models.items():
        _check_folder(f"models.{name}", name)
        if name in known:
            raise ConfigError(f"models.{name}: a feature has this name; choose another")
        for wanted in model.inputs or ():
            if wanted not in known:
                raise ConfigError(
                    f"models.{name}.inputs: {wanted!r} is no feature or earlier model"
                    f"{nearest(wanted, known)}; there are: {', '.join(known)}"
                )
        known.append(name)
    if config.head and "head" in config.models:
        raise ConfigError("models.head: the head takes this name; choose another")
    if config.head and config.head.on not in known:
        raise ConfigError(
            f"head.on: {config.head.on!r} is no feature or model"
            f"{nearest(config.head.on, known)}; there are: {', '.join(known)}"
        )


def _check_compared(inputs: Sequence[str], features: Sequence[str]) -> None:
    for wanted in inputs:
        if wanted not in features:
            raise ConfigError(
                f"compare.inputs: {wanted!r} is no feature{nearest(wanted, features)}; "
                f"there are: {', '.join(features)}"
            )


def _check_registered(config: RunConfig) -> None:
    """The names of fusions and heads; also of a run, which another version may have written."""
    fusions = {f"models.{name}.name": model.name for name, model in config.models.items()}
    for number, model in enumerate(config.compare.models):
        fusions[f"compare.models.{number}.name"] = model.name
    for dotted, name in fusions.items():
        if name not in fusion.FUSIONS:
            raise ConfigError(unknown(dotted, name, fusion.FUSIONS))
    if config.head and config.head.name not in HEADS:
        raise ConfigError(unknown("head.name", config.head.name, HEADS))


def _check_folder(dotted: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        raise ConfigError(
            f"{dotted:.120}: expected a name of letters, digits, '_' and '-', at most 100 of them "
            "(it becomes a folder name)"
        )


def _check_video(config: RunConfig, name: str) -> None:
    modality = config.modalities[name]
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


def check_components(data: dict[str, Any], folder: Path) -> None:
    """The options of everything mentioned; local paths among them become absolute, in place.

    Raises:
        ConfigError: with the dotted path.
    """
    for dotted, component, options in _encoders(data):
        _check_options(dotted, component, options, folder)
    for name, model in data["models"].items():
        _check_model(f"models.{name}", model, "label" in data, folder)
    if "head" in data:
        _check_head(data, folder)
    for number, model in enumerate(data["compare"]["models"]):
        options = fusion.options_type(model["name"])
        _check_options(f"compare.models.{number}", model, options, folder)


def _check_model(dotted: str, model: dict[str, Any], labelled: bool, folder: Path) -> None:
    from fusion import objectives  # torch
    from pipeline.fit.recipe import Training

    entry = fusion.FUSIONS[model["name"]]
    also = ("inputs", "objective", "training", "memory")
    _check_options(dotted, model, fusion.options_type(model["name"]), folder, also)
    _check_options(f"{dotted}.training", model["training"], Training, folder)
    if "objective" in model:
        if entry.objective is None:
            raise ConfigError(
                f"{dotted}.objective: {model['name']} has nothing to train; leave it out"
            )
        chosen = model["objective"]
        if chosen["name"] not in objectives.OBJECTIVES:
            known = objectives.OBJECTIVES
            raise ConfigError(unknown(f"{dotted}.objective", chosen["name"], known))
        options = objectives.target(chosen["name"]).Options
        _check_options(f"{dotted}.objective", chosen, options, folder)
    trained = model.get("objective", {}).get("name", entry.objective)
    needs = entry.needs | (objectives.OBJECTIVES[trained].needs if trained else frozenset())
    term = bool(model.get("objective", {}).get("label"))
    if ("labels" in needs or term) and not labelled:
        what = model["name"] if "labels" in entry.needs else f"objective {trained}"
        raise ConfigError(
            f"{dotted}: {what} learns from labels, and there are none; add label: {{column: ...}}"
        )


def _check_head(data: dict[str, Any], folder: Path) -> None:
    from fusion import objectives  # torch
    from pipeline.fit.recipe import Training

    head = data["head"]
    if "label" not in data:
        raise ConfigError("head: it predicts a label, and there is none; add label: {column: ...}")
    task = data["label"]["task"]  # auto: most keys are those of classify; training checks the rest
    options = objectives.target("classify" if task == "auto" else task).Options
    _check_options("head", head, options, folder, ("on", "fusion", "training"))
    _check_options("head.training", head["training"], Training, folder)


def _encoders(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], type]]:
    """(dotted path, {name, options...}, its Options dataclass) for every encoder mentioned."""
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


def _options_type(dotted: str, kind: str, name: str) -> type:
    fitting = [known for known, entry in encoders.ENCODERS.items() if kind in entry.targets]
    if name not in fitting:
        raise ConfigError(unknown(f"{dotted}.name", name, fitting, f" for kind {kind}"))
    return encoders.options_type(kind, name)


def _check_options(
    dotted: str, component: dict[str, Any], options: type, folder: Path, also: Sequence[str] = ()
) -> None:
    """Check a component's own keys, and make the local paths among them absolute, in place."""
    fields = {field.name: field for field in dataclasses.fields(options)}
    given = [key for key in _FROM_LABELS if key in fields]
    own = [key for key in fields if key not in given]
    for key in component:
        if key in given:
            raise ConfigError(f"{dotted}.{key}: it follows from the labels; leave it out")
        if key not in own and key not in ("name", *also):
            raise ConfigError(unknown(f"{dotted}.{key}", key, [*own, *also], kind="key"))
    for key, field in fields.items():
        if key in component and field.metadata.get("location"):
            local = Path(folder, str(component[key])).expanduser()
            if local.exists():
                component[key] = str(local)
    values = {key: component[key] for key in own if key in component}
    try:
        taken: Any = TypeAdapter(options).validate_python({**dict.fromkeys(given, 2), **values})
    except ValidationError as err:
        raise ConfigError(explain(err, dotted)) from err
    except ValueError as err:
        raise ConfigError(f"{dotted}: {err}") from err
    _refuse_lookalikes(dotted, values, taken)


def _refuse_lookalikes(dotted: str, values: dict[str, Any], taken: Any) -> None:
    """pydantic takes true, "64" and 64.0 for whole numbers; the component is given what is written."""
    for key, value in values.items():
        number = getattr(taken, key)
        numbers = {int: (int,), float: (int, float)}.get(type(number))
        if numbers and type(value) not in numbers:
            raise ConfigError(
                f"{dotted}.{key}: expected a number, got {value!r}; write it as {number!r}"
            )
