"""Whether a feature is computed in half precision, by OpenVINO, and on a GPU in which batches: tried on
the corpus before its first shard.

A process of the kind that will do the work takes items from the first shards, encodes them in both
precisions and compares (see `encoders.precision`): this one, or where workers may be elsewhere or
have a GPU, a worker. Where half precision can't pay, on a CPU without instructions for it or for a
small corpus, nothing is read and nothing is started.
"""

import dataclasses
import functools
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import encoders
from encoders import gpu_batch, openvino, precision
from encoders.base import Encoder, Prepared
from encoders.media.types import Waveform
from pipeline import cluster, files, onecore
from pipeline.config import Feature, RunConfig
from pipeline.errors import ConfigError
from pipeline.extract import columns_read, filtered
from pipeline.isolate import Disposable
from pipeline.plan import Plan
from pipeline.prepare import Lost, Preparer
from pipeline.saved import Setting
from pipeline.sources import SourceSpec, open_source

ROWS = 4096  # records looked at for items: a rare modality must not cost a pass over the corpus
_FRAMES = 8  # of a video
SECONDS = 3.0  # of a sound: a longer one is the same network over and over


def settle(
    feature: Feature, config: RunConfig, source: SourceSpec, device: str, *, remote: bool
) -> tuple[Setting, dict[str, Any]]:
    """The setting of a network feature that has none yet, and how it was found, for the record.

    Args:
        device: "cpu" or "cuda", where it will run.
        remote: the workers may be other machines than this one.

    Raises:
        ConfigError: fp16 on a CPU, or OpenVINO on a GPU or where it is not installed.
    """
    asked = config.precision
    runtime = _runtime(config.runtime, device, remote=remote)
    untried = _untried(asked, device)
    setting = Setting(untried, device, runtime)
    if asked != "auto" and device == "cpu":
        return setting, {"asked": asked, "precision": untried}
    if device == "cpu" and not remote and precision.resolve(asked) == "fp32":
        return setting, {"asked": asked, "hardware": "fp32", "precision": untried}
    records = Plan.open(files.at(config.output) / "plan").totals.records
    if records * _items(feature, config) < precision.WORTH:
        return setting, {"asked": asked, "records": records, "precision": untried}
    if remote or device != "cpu":
        return cluster.once(
            _on_worker,
            (feature, config, source, device),
            cluster.resources_on(device),
            f"{feature.name}: trying precision and batches",
        )
    return measure(feature, config, source, device)


def _untried(asked: str, device: str) -> str:
    try:
        return "fp32" if asked == "auto" else precision.resolve(asked, device)
    except ValueError as err:
        raise ConfigError(f"precision: {err}") from err


def _items(feature: Feature, config: RunConfig) -> int:
    """How many a record has, for all that is known: few videos are shorter than `_FRAMES` frames."""
    policy = config.modalities[feature.modality].frame_policy
    return min(policy.max, _FRAMES) if policy and feature.stream == "frames" else 1


def _runtime(asked: str, device: str, *, remote: bool) -> str:
    """What computes a network for which nothing is tried."""
    if asked != "openvino":
        return "torch"
    if device != "cpu":
        raise ConfigError("runtime: openvino computes on CPUs; choose auto or torch")
    if not remote and not openvino.installed():
        raise ConfigError(f"runtime: {openvino.MISSING}")
    return asked


def measure(
    feature: Feature, config: RunConfig, source: SourceSpec, device: str
) -> tuple[Setting, dict[str, Any]]:
    """What `encoders.precision` and `encoders.gpu_batch` find for items of the planned corpus, here.

    Half precision is tried with OpenVINO first, where it is installed, and then with torch.
    """

    @functools.cache  # the probes are prepared by the encoder that they are then compared with
    def exact() -> Encoder:
        return encoders.build(feature.encoder, device=device)

    @functools.cache
    def probes() -> list[Prepared]:
        return gather(feature, config, source, exact())

    for runtime in openvino.candidates(config.runtime, device):

        @functools.cache  # batches are tried with the one that was compared
        def build(precision: str, runtime: str = runtime) -> Encoder:
            if precision == "fp32":
                return exact()
            return encoders.build(
                feature.encoder, precision=precision, device=device, runtime=runtime
            )

        chosen, record = precision.choose(build, probes, device, config.precision)
        if chosen != "fp32":
            setting, record = Setting(chosen, device, runtime), record | {"runtime": runtime}
            break
    else:
        setting = Setting(chosen, device, _runtime(config.runtime, device, remote=True))
    if device == "cuda" and probes():
        best, rates = gpu_batch.choose(build(chosen), probes())
        return dataclasses.replace(setting, batch=best), record | {"batch": best, "rates": rates}
    return setting, record


def gather(
    feature: Feature, config: RunConfig, spec: SourceSpec, encoder: Encoder
) -> list[Prepared]:
    """At least PROBES prepared items from the first shards, or as many as the first ROWS rows have.

    All frames of a video count, and of a sound its middle is an item. Items that can't be used are passed
    over: they become errors when their shard is computed. Decoding is isolated, because no attempt is
    on record yet.
    """
    folder = files.at(config.output) / "plan"
    source = open_source(spec, folder)
    tool = Disposable(config.media_limits)
    prepare = Preparer(source, config, feature.modality, {feature.name: _OfExcerpts(encoder)}, tool)
    columns = columns_read(config, feature.modality)
    rows = chain.from_iterable(source.read(shard, columns) for shard in Plan.open(folder).shards())
    items: list[Prepared] = []
    try:
        for row, wanted in filtered(islice(rows, ROWS), source, config):
            found = prepare(row)[feature.name] if wanted else []
            items += [] if isinstance(found, Lost) else found
            if len(items) >= precision.PROBES:
                break
    finally:
        tool.close()
    return items


class _OfExcerpts:
    """`Preparing` for an encoder, of sounds of which none is longer than SECONDS."""

    def __init__(self, encoder: Encoder) -> None:
        self.identity = encoder.identity
        self._encoder = encoder

    def prepare(self, items: Sequence[Any]) -> list[Prepared]:
        """As `Encoder.prepare`."""
        return self._encoder.prepare([_excerpt(item) for item in items])


def _excerpt(item: Any) -> Any:
    if not isinstance(item, Waveform):
        return item
    length = round(SECONDS * item.rate)
    start = max(0, len(item.samples) - length) // 2  # many a recording begins with silence
    return Waveform(item.samples[start : start + length], item.rate)


def _on_worker(
    feature: Feature, config: RunConfig, source: SourceSpec, device: str
) -> tuple[Setting, dict[str, Any]]:
    onecore.begin()
    onecore.single_threaded()
    return measure(feature, config, source, device)
