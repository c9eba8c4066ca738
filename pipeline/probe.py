"""Whether a feature is computed in half precision, and by OpenVINO: tried on the corpus before its
first shard.

A process of the kind that will do the work takes items from the first shards, encodes them in both
precisions and compares (see `encoders.precision`): this one, or where workers may be elsewhere or
have a GPU, a worker. Where half precision can't pay, on a CPU without instructions for it or for a
small corpus, nothing is read and nothing is started.
"""

import functools
import os
from itertools import chain, islice
from typing import Any

import torch

import encoders
from encoders import openvino, precision
from encoders.base import Encoder, Prepared
from encoders.media.errors import MediaError
from pipeline import cluster, files
from pipeline.config import Feature, RunConfig
from pipeline.errors import ConfigError
from pipeline.extract import columns_read, filtered
from pipeline.isolate import Disposable
from pipeline.load import Loader
from pipeline.plan import Plan
from pipeline.saved import Setting
from pipeline.sources import Row, SourceSpec, open_source

ROWS = 4096  # records looked at for items: a rare modality must not cost a pass over the corpus
_FRAMES = 8  # of a video


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
    if asked != "auto":
        try:
            chosen = precision.resolve(asked, device)
        except ValueError as err:
            raise ConfigError(f"precision: {err}") from err
        return Setting(chosen, device, runtime), {"asked": asked, "precision": chosen}
    slow = Setting("fp32", device, runtime)
    if device == "cpu" and not remote and precision.resolve(asked) == "fp32":
        return slow, {"asked": asked, "hardware": "fp32", "precision": "fp32"}
    records = Plan.open(files.at(config.output) / "plan").totals.records
    if records * _items(feature, config) < precision.WORTH:
        return slow, {"asked": asked, "records": records, "precision": "fp32"}
    if remote or device != "cpu":
        return cluster.once(
            _on_worker,
            (feature, config, source, device),
            cluster.resources_on(device),
            f"{feature.name}: trying half precision",
        )
    return measure(feature, config, source, device)


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
    """What `encoders.precision.choose` finds for items of the planned corpus, on this machine.

    Half precision is tried with OpenVINO first, where it is installed, and then with torch.
    """

    @functools.cache  # the probes are prepared by the encoder that they are then compared with
    def exact() -> Encoder:
        return encoders.build(feature.encoder, device=device)

    @functools.cache
    def probes() -> list[Prepared]:
        return gather(feature, config, source, exact())

    for runtime in openvino.candidates(config.runtime, device):

        def build(precision: str, runtime: str = runtime) -> Encoder:
            if precision == "fp32":
                return exact()
            return encoders.build(
                feature.encoder, precision=precision, device=device, runtime=runtime
            )

        chosen, record = precision.choose(build, probes, device)
        if chosen != "fp32":
            return Setting(chosen, device, runtime), record | {"runtime": runtime}
    return Setting(chosen, device, _runtime(config.runtime, device, remote=True)), record


def gather(
    feature: Feature, config: RunConfig, spec: SourceSpec, encoder: Encoder
) -> list[Prepared]:
    """At least PROBES prepared items from the first shards, or as many as the first ROWS rows have.

    All frames of a video count. Items that can't be used are passed over: they become errors when
    their shard is computed. Decoding is isolated, because no attempt is on record yet.
    """
    folder = files.at(config.output) / "plan"
    source = open_source(spec, folder)
    tool = Disposable(config.media_limits)
    loader = Loader(source, config, feature.modality, tool, {feature.stream: encoder})
    columns = columns_read(config, feature.modality)
    rows = chain.from_iterable(source.read(shard, columns) for shard in Plan.open(folder).shards())
    items: list[Prepared] = []
    try:
        for row, wanted in filtered(islice(rows, ROWS), source, config):
            if wanted:
                items += _prepared(row, loader, feature.stream, encoder)
            if len(items) >= precision.PROBES:
                break
    finally:
        tool.close()
    return items


def _prepared(row: Row, loader: Loader, stream: str, encoder: Encoder) -> list[Prepared]:
    try:
        found = loader.load(row).get(stream, [])
        return [] if isinstance(found, MediaError) else encoder.prepare(found)
    except Exception:  # whatever a processor raises: that item is no probe
        return []


def _on_worker(
    feature: Feature, config: RunConfig, source: SourceSpec, device: str
) -> tuple[Setting, dict[str, Any]]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)  # it was given one core
    return measure(feature, config, source, device)
