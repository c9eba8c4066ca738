"""The keys of a configuration, section by section, with their types and defaults."""

import dataclasses
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

import encoders
from encoders.base import EncoderSpec
from encoders.media.limits import Limits
from encoders.media.types import FramePolicy
from pipeline.config.base import ComponentConfig, Size, Strict
from pipeline.config.comparison import CompareConfig
from pipeline.config.learned import HeadConfig, LabelConfig, ModelConfig, SplitConfig

KINDS = ("image", "text", "audio", "video", "vector", "numeric", "categorical")
ColumnType = Literal["string", "int", "float", "bool"]


class SourceConfig(Strict):
    """Where the records are."""

    path: str
    id: str | None = None
    where: str | None = None
    types: dict[str, ColumnType] = Field(default_factory=dict)


class FramesConfig(Strict):
    """What to take from the pictures of a video."""

    every: float = Field(default=1.0, gt=0)
    max: int = Field(default=32, ge=1)
    encoder: ComponentConfig = ComponentConfig(name="hog-colour")
    pool: Literal["mean", "sequence"] = "mean"

    @property
    def policy(self) -> FramePolicy:
        """The part that decoding needs."""
        return FramePolicy(every=self.every, max=self.max)


class SoundConfig(Strict):
    """What to take from the sound track of a video."""

    encoder: ComponentConfig = ComponentConfig(name="logmel-stats")


class ModalityConfig(Strict):
    """One column of the source and how it becomes one vector (two for a video)."""

    kind: Literal["image", "text", "audio", "video", "vector", "numeric", "categorical"]
    column: str | None = None
    encoder: ComponentConfig | None = None
    frames: FramesConfig | None = None
    sound: SoundConfig | None = None

    @property
    def frame_policy(self) -> FramePolicy | None:
        """Which frames decoding takes; None for anything but a video."""
        return (self.frames or FramesConfig()).policy if self.kind == "video" else None


class ShardConfig(Strict):
    """How large a unit of work may get: what a worker loses when it dies.

    records: by default 4096; 64 where there are videos, each of which may take seconds.
    """

    records: int | None = Field(None, ge=1)
    bytes: Size = 256_000_000


class LimitsConfig(Strict):
    """Caps on one medium; see `encoders.media.limits.Limits`."""

    bytes: Size = Limits.bytes
    pixels: Size = Limits.pixels
    frames: Size = Limits.frames
    seconds: float = Limits.seconds
    item_timeout: float = Field(Limits.item_timeout, gt=0)


class AllowConfig(Strict):
    """What cells may point to: remote media only with a scheme and a host (or bucket) of these.

    folders: local media must lie in one of them, links followed; none: anywhere. private: hosts may
    be addresses of this machine or of a private network.
    """

    schemes: tuple[str, ...] = ("file",)
    hosts: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    private: bool = False


class IndexConfig(Strict):
    """How the FAISS index is built."""

    metric: Literal["cosine", "ip", "l2"] = "cosine"
    memory: Size = 4_000_000_000


@dataclasses.dataclass(frozen=True)
class Feature:
    """One stored vector column: which stream of the decoded medium, which encoder, how pooled."""

    name: str
    modality: str
    stream: Literal["self", "frames", "sound"]
    encoder: EncoderSpec
    pool: Literal["mean", "sequence"] = "mean"


class RunConfig(Strict):
    """A whole run. `folder` is where relative paths start: the configuration file's."""

    source: SourceConfig
    modalities: dict[str, ModalityConfig]
    output: str
    models: dict[str, ModelConfig] = Field({"concat": ModelConfig(name="concat")})
    label: LabelConfig | None = None
    split: SplitConfig = SplitConfig()
    head: HeadConfig | None = None
    compare: CompareConfig = CompareConfig()
    index: IndexConfig = IndexConfig()
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    runtime: Literal["auto", "openvino", "torch"] = "auto"
    workers: int | Literal["auto"] = "auto"
    max_error_rate: float = Field(0.1, ge=0, le=1)
    shard: ShardConfig = ShardConfig()
    limits: LimitsConfig = LimitsConfig()
    allow: AllowConfig = AllowConfig()

    def column(self, modality: str) -> str:
        """The source column of a modality; its own name where none is given."""
        return self.modalities[modality].column or modality

    def features(self, modality: str | None = None) -> list[Feature]:
        """The stored features, of one modality or of all, in the order of the configuration."""
        names = [modality] if modality else list(self.modalities)
        return [feature for name in names for feature in _features(name, self.modalities[name])]

    @property
    def shard_sizes(self) -> dict[str, int]:
        """As `make_plan` takes them: the largest shard, and with videos the first ones."""
        videos = any(modality.kind == "video" for modality in self.modalities.values())
        usual = {"records": 64, "first": 8} if videos else {"records": 4096}
        asked = {"records": self.shard.records} if self.shard.records else {}
        return {**usual, **asked, "bytes": self.shard.bytes}

    @property
    def media_limits(self) -> Limits:
        """The caps as decoding takes them."""
        return Limits(**self.limits.model_dump())


def _features(name: str, modality: ModalityConfig) -> Iterator[Feature]:
    if modality.kind != "video":
        component = modality.encoder or ComponentConfig(name=encoders.DEFAULTS[modality.kind])
        spec = EncoderSpec(modality.kind, component.name, component.options)
        yield Feature(name, name, "self", spec)
        return
    frames = modality.frames or FramesConfig()
    spec = EncoderSpec("image", frames.encoder.name, frames.encoder.options)
    yield Feature(f"{name}.frames", name, "frames", spec, frames.pool)
    if modality.sound:
        spec = EncoderSpec("audio", modality.sound.encoder.name, modality.sound.encoder.options)
        yield Feature(f"{name}.sound", name, "sound", spec)
