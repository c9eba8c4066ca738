"""What a person asks with, as vectors: through the same encoders as the records, or not at all.

D is the length of a feature's vector.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import encoders
from encoders.base import Encoder, EncoderSpec, Identity
from encoders.media import decode
from encoders.media.errors import MediaError
from encoders.media.types import Video
from pipeline.config import KINDS, Feature, RunConfig
from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.load import least_side

# A kind that no modality has may be a stream of a video: {kind: stream}.
_STREAMS = {"image": "frames", "audio": "sound"}


@dataclass(frozen=True)
class Term:
    """One part of a query: a vector (D,) of one feature, and how much it counts (negative: unlike)."""

    feature: str
    vector: np.ndarray
    weight: float


def resolve(config: RunConfig, key: str) -> list[Feature]:
    """The features that a key means: a modality or feature by name, or a kind where only one has it.

    Raises:
        ConfigError: nothing is called so, or several modalities are of this kind.
    """
    named = [f for f in config.features() if key in (f.name, f.modality)]
    if named:
        return named
    known = [*config.modalities, *(f.name for f in config.features() if f.stream != "self")]
    if key not in KINDS:
        raise ConfigError(f"this run has no modality {key!r}; there are: {', '.join(known)}")
    of_kind = [name for name, modality in config.modalities.items() if modality.kind == key]
    found = [config.features(name) for name in of_kind]
    if not found:
        stream = _STREAMS.get(key)
        found = [[f] for f in config.features() if f.stream == stream]
        of_kind = [features[0].name for features in found]
    if len(found) > 1:
        raise ConfigError(f"{key} may mean {' or '.join(of_kind)}: say which by its name")
    if not found:
        raise ConfigError(f"this run has nothing of kind {key}; there are: {', '.join(known)}")
    return found[0]


class QueryEncoder:
    """Queries of one run -> terms. Encoders are built when first needed and kept.

    identities: what the searched vectors were made with, by feature.
    """

    def __init__(self, config: RunConfig, identities: Mapping[str, Identity]) -> None:
        self.config = config
        self.identities = identities
        self._built: dict[tuple[str, str | None], Encoder] = {}

    def terms(
        self,
        query: Mapping[str, Any],
        weights: Mapping[str, float],
        wanted: Mapping[str, int],
        models: Mapping[str, str],
    ) -> list[Term]:
        """Encode what the index can use.

        Args:
            query: modality or kind -> text, number, path or bytes of a medium, or a vector.
            weights: how much each counts, by the same or a more exact name; default 1. What counts
                nothing is left out.
            wanted: the features the index knows -> D.
            models: modality or kind -> where its model is on this machine.

        Raises:
            ConfigError: a name, weight or vector that fits nothing.
            PolyfuseError: a medium that can't be read.
            Refused: a model other than the one the records were encoded with.
        """
        located = {
            feature.name: location
            for key, location in models.items()
            for feature in resolve(self.config, key)
        }
        terms = []
        for key, value in query.items():
            features = resolve(self.config, key)
            usable = [feature for feature in features if feature.name in wanted]
            if not usable:
                raise ConfigError(
                    f"{key} is no part of this index, which compares {', '.join(sorted(wanted))}: "
                    "choose another index"
                )
            counted = {feature.name: _weight(weights, key, feature) for feature in usable}
            usable = [feature for feature in usable if counted[feature.name]]
            vectors = self._vectors(key, value, features, usable, located) if usable else {}
            for name, vector in vectors.items():
                _check_vector(name, vector, wanted[name])
                terms.append(Term(name, vector, counted[name]))
        return terms

    def _vectors(
        self,
        key: str,
        value: Any,
        features: list[Feature],
        usable: list[Feature],
        located: Mapping[str, str],
    ) -> dict[str, np.ndarray]:
        if isinstance(value, np.ndarray):
            if len(features) > 1:
                names = " or ".join(feature.name for feature in features)
                raise ConfigError(f"{key}: a vector of which feature? Say {names}")
            return {features[0].name: value.astype(np.float32)}
        # All encoders before any medium: a refusal must not depend on what was asked.
        built = {f.name: self._encoder(f, located.get(f.name)) for f in usable}
        try:
            side = least_side({f.stream: built[f.name] for f in usable})
            streams = self._streams(key, value, features, side)
            found = {
                f.name: _encode(built[f.name], streams[f.stream])
                for f in usable
                if streams[f.stream]
            }
        except MediaError as err:
            shown = f" {value}" if isinstance(value, str | Path) else ""
            raise PolyfuseError(f"the query's {key}{shown} is unusable: {err}") from err
        if not found:
            wanted = " and ".join(feature.name for feature in usable)
            raise PolyfuseError(f"the query's {key} holds nothing for {wanted}")
        return found

    def _streams(
        self, key: str, value: Any, features: list[Feature], side: int | None
    ) -> dict[str, list[Any]]:
        """Decoded items by stream, as extraction decodes them."""
        modality = self.config.modalities[features[0].modality]
        whole = modality.kind == "video" and key in (features[0].modality, "video")
        kind = "video" if whole else features[0].encoder.kind
        if kind in ("image", "audio", "video"):
            raw = _read(key, value, self.config.media_limits.bytes)
            limits = self.config.media_limits
            if not whole:
                return {features[0].stream: [decode(raw, kind, limits, least_side=side)]}
            video = decode(
                raw,
                kind,
                limits,
                frames=modality.frame_policy,
                sound=bool(modality.sound),
                least_side=side,
            )
            assert isinstance(video, Video)
            return {"frames": list(video.frames), "sound": [video.sound] if video.sound else []}
        return {"self": [_convert(key, kind, value)]}

    def _encoder(self, feature: Feature, location: str | None) -> Encoder:
        place = feature.name, location
        if place not in self._built:
            spec = _at(feature.encoder, location)
            try:
                identity = encoders.identify(spec)
                self._refuse_other(feature, identity)
                self._built[place] = encoders.build(spec)
            except (ValueError, OSError) as err:
                raise PolyfuseError(
                    f"{feature.name}: {' '.join(str(err).split())}; "
                    f"if its model is elsewhere, say --model {feature.name}=DIR"
                ) from err
        return self._built[place]

    def _refuse_other(self, feature: Feature, mine: Identity) -> None:
        theirs = self.identities[feature.name]
        if mine.digest == theirs.digest:
            return
        ours, stored = dataclasses.asdict(mine), dataclasses.asdict(theirs)
        lines = [
            f"{key}: {stored[key]!r}, now {ours[key]!r}" for key in ours if ours[key] != stored[key]
        ]
        raise Refused(
            f"{feature.name}: the records were encoded with {theirs.encoder} ({theirs.digest}), the "
            f"query would be with {mine.encoder} ({mine.digest}); their vectors can't be compared.\n  "
            + "\n  ".join(lines)
            + f"\ngive the model of the records with --model {feature.name}=DIR"
        )


def _at(spec: EncoderSpec, location: str | None) -> EncoderSpec:
    """The same encoder, its model read from `location`."""
    if location is None:
        return spec
    options = dataclasses.fields(encoders.options_type(spec.kind, spec.name))
    places = [field.name for field in options if field.metadata.get("location")]
    if not places:
        raise ConfigError(f"encoder {spec.name} reads no files: it takes no --model")
    return dataclasses.replace(spec, options={**spec.options, places[0]: location})


def _weight(weights: Mapping[str, float], key: str, feature: Feature) -> float:
    for name in (feature.name, key, feature.modality):
        if name in weights:
            return weights[name]
    return 1.0


def check_weights(config: RunConfig, weights: Mapping[str, float], keys: set[str]) -> None:
    """Refuse a weight that is no number or belongs to nothing that was asked."""
    asked = keys | {
        name for key in keys - {"id"} for f in resolve(config, key) for name in (f.name, f.modality)
    }
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise ConfigError(f"weight {name}={weight}: expected a finite number")
        if name not in asked:
            raise ConfigError(
                f"weight {name}: the query has no {name}; it has: {', '.join(sorted(keys))}"
            )


def _check_vector(name: str, vector: np.ndarray, dim: int) -> None:
    if vector.shape != (dim,):
        raise ConfigError(f"{name}: expected a vector of shape ({dim},), got {vector.shape}")
    if not np.isfinite(vector).all() or not vector.any():
        raise ConfigError(f"{name}: the query's vector is zero or not finite: nothing is near it")


def _read(key: str, value: Any, limit: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str | Path):
        raise ConfigError(f"{key}: expected a path, bytes or a vector, got {type(value).__name__}")
    try:
        with Path(value).expanduser().open("rb") as file:
            return file.read(limit + 1)  # one more than allowed, so that decoding refuses it
    except OSError as err:
        raise PolyfuseError(f"can't read the query's {key} {value}: {err.strerror or err}") from err


def _convert(key: str, kind: str, value: Any) -> Any:
    if kind == "numeric":
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{key}: expected a number, got {value!r}") from None
    if kind == "vector":
        return np.asarray(value, np.float32)
    if not isinstance(value, str):
        raise ConfigError(f"{key}: expected text, got {type(value).__name__}")
    return value


def _encode(encoder: Encoder, items: list[Any]) -> np.ndarray:
    """Items of one record -> (D,): what extraction stores for them, pooled."""
    matrix = encoder.encode(list(encoder.prepare(items)))
    return matrix.mean(axis=0, dtype=np.float64).astype(np.float32)
