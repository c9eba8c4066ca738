"""Whether a feature is computed in half precision: tried on the corpus before its first shard.

A worker of the kind that will do the work takes items from the first shards, encodes them in both
precisions and compares (see `encoders.precision`). Where half precision can't pay, on a CPU without
instructions for it or for a small corpus, nothing is read and nothing is started.
"""

import dataclasses
import functools
import os
from itertools import chain, islice
from typing import Any

import torch

import encoders
from encoders import precision
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


def settle(
    feature: Feature, config: RunConfig, source: SourceSpec, device: str, *, remote: bool
) -> tuple[Setting, dict[str, Any]]:
    """The setting of a network feature that has none yet, and how it was found, for the record.

    Args:
        device: "cpu" or "cuda", where it will run.
        remote: the workers may be other machines than this one.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    asked = config.precision
    if asked != "auto":
        try:
            chosen = precision.resolve(asked, device)
        except ValueError as err:
            raise ConfigError(f"precision: {err}") from err
        return Setting(chosen, device), {"asked": asked, "precision": chosen}
    if device == "cpu" and not remote and precision.resolve(asked) == "fp32":
        record = {"asked": asked, "hardware": "fp32", "precision": "fp32"}
        return Setting("fp32", device), record
    records = Plan.open(files.at(config.output) / "plan").totals.records
    if records < precision.WORTH:
        return Setting("fp32", device), {"asked": asked, "records": records, "precision": "fp32"}
    # On this machine nothing else runs yet: the comparison may have all of it.
    resources = cluster.resources_on(device)
    if not remote:
        resources = dataclasses.replace(resources, cpus=cluster.worker_count("auto", resources))
    chosen, record = cluster.once(
        _on_worker,
        (feature, config, source, device, int(resources.cpus)),
        resources,
        f"{feature.name}: trying half precision",
    )
    return Setting(chosen, device), record


def measure(
    feature: Feature, config: RunConfig, source: SourceSpec, device: str
) -> tuple[str, dict[str, Any]]:
    """What `encoders.precision.choose` finds for items of the planned corpus, on this machine."""

    @functools.cache  # the probes are prepared by the encoder that they are then compared with
    def build(precision: str) -> Encoder:
        return encoders.build(feature.encoder, precision=precision, device=device)

    def probes() -> list[Prepared]:
        return gather(feature, config, source, build("fp32"))

    return precision.choose(build, probes, device)


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
    feature: Feature, config: RunConfig, source: SourceSpec, device: str, threads: int
) -> tuple[str, dict[str, Any]]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(threads)
    return measure(feature, config, source, device)
