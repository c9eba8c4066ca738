"""The encoders: one explicit table, name -> what it takes and where it lives.

A new encoder is one module and one line here. The targets are imported only when built, so that
`import encoders` loads neither torch nor transformers.
"""

import contextlib
import dataclasses
import gc
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from encoders.base import Encoder, EncoderSpec, Identity


@dataclass(frozen=True)
class Entry:
    """One catalogue line.

    targets: {kind: "module:Class"}, with the options as `Class.Options`; summary and needs: for
    people; network: a neural network, which runs on a GPU where there is one and has a precision
    (the others compute the same on every machine and are told neither).
    """

    targets: Mapping[str, str]
    summary: str
    needs: str = "nothing"
    network: bool = False
    size: str = ""


ENCODERS: dict[str, Entry] = {
    "transformers": Entry(
        {
            "image": "encoders.image:TransformersImage",
            "text": "encoders.text:TransformersText",
            "audio": "encoders.audio:TransformersAudio",
        },
        "any Hugging Face image backbone, text encoder or audio encoder",
        "model: a hub id or a local folder with safetensors weights",
        network=True,
    ),
    "vggish": Entry(
        {"audio": "encoders.vggish:VGGish"},
        "VGGish, 128 values per 0.96 s of sound, averaged",
        "weights: a .safetensors file; others: python -m encoders.vggish_weights SRC DST",
        network=True,
        size="128",
    ),
    "yamnet": Entry(
        {"audio": "encoders.yamnet:YAMNet"},
        "YAMNet, 1024 values per 0.96 s of sound, averaged",
        "weights: yamnet.safetensors",
        network=True,
        size="1024",
    ),
    "hog-colour": Entry(
        {"image": "encoders.hog_colour:HogColour"},
        "classical: gradient orientations and colour histograms on a grid",
        size="648",
    ),
    "hashed-ngrams": Entry(
        {"text": "encoders.hashed_ngrams:HashedNgrams"},
        "classical: hashed word and character n-grams",
        size="1024",
    ),
    "logmel-stats": Entry(
        {"audio": "encoders.logmel_stats:LogmelStats"},
        "classical: mean, spread and movement of log-mel bands",
        size="304",
    ),
    "pixels": Entry({"image": "encoders.pixels:Pixels"}, "the picture itself, resized"),
    "logmel": Entry({"audio": "encoders.logmel:Logmel"}, "the log-mel spectrogram itself"),
    "as-is": Entry({"vector": "encoders.table:AsIs"}, "a vector column that exists already"),
    "number": Entry(
        {"numeric": "encoders.table:Number"},
        "one number, optionally standardised",
        size="1",
    ),
    "hashed-category": Entry(
        {"categorical": "encoders.table:HashedCategory"},
        "one of n values, hashed to a one-hot",
        size="64",
    ),
}

# What a modality gets when the configuration names no encoder: needs no download.
DEFAULTS = {
    "image": "hog-colour",
    "text": "hashed-ngrams",
    "audio": "logmel-stats",
    "vector": "as-is",
    "numeric": "number",
    "categorical": "hashed-category",
}


def _target(kind: str, name: str) -> Any:
    if name not in ENCODERS:
        raise ValueError(f"unknown encoder {name!r}; known: {', '.join(sorted(ENCODERS))}")
    entry = ENCODERS[name]
    if kind not in entry.targets:
        raise ValueError(f"encoder {name!r} takes {', '.join(sorted(entry.targets))}, not {kind}")
    module, _, attribute = entry.targets[kind].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _options(target: Any, spec: EncoderSpec) -> Any:
    """A configuration is checked when it is read; a spec may also come from a damaged file of a run."""
    try:
        return target.Options(**spec.options)
    except TypeError as err:
        known = ", ".join(field.name for field in dataclasses.fields(target.Options))
        reason = str(err).partition("() ")[2]  # without the name of the class
        raise ValueError(
            f"encoder {spec.name!r}: {reason}; its options: {known or 'none'}"
        ) from err


def options_type(kind: str, name: str) -> type:
    """The frozen dataclass that says which options this encoder takes."""
    return _target(kind, name).Options


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Imports of torch and transformers make some 300,000 objects that stay, and the garbage collector
    would look through them again and again: a sixth of the time that they take."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@_uncollected()
def identify(spec: EncoderSpec) -> Identity:
    """What vectors of this spec are comparable with; reads files, builds no model."""
    target = _target(spec.kind, spec.name)
    return target.identify(_options(target, spec))


@_uncollected()
def build(
    spec: EncoderSpec,
    *,
    precision: str = "fp32",
    device: str = "cpu",
    runtime: str = "torch",
    batch: int = 1,
    shared: bool = False,
) -> Encoder:
    """Build the encoder, weights loaded. Once per worker: this may take seconds.

    device: torch's name of it; on "meta" no weights are kept, for whom only `prepare` is wanted.
    runtime: torch | openvino, what computes the network of an encoder that is one.
    batch: a factor on the sizes of its batches (see `gpu_batch`).
    shared: on a CPU, hold the weights of a network once for all processes of this machine that say so.
    """
    target = _target(spec.kind, spec.name)
    options = _options(target, spec)
    if runtime == "torch":
        encoder = target(options, precision=precision, device=device)
    else:
        from encoders.openvino import Compiled

        encoder = target(options, device=device)  # converted from fp32
        encoder.module = Compiled(encoder.module, precision)
    if batch != 1:
        encoder.batch = batch
    if shared and device == "cpu" and ENCODERS[spec.name].network:
        from encoders.shared_weights import share

        share(encoder.module)
    return encoder
