"""Preparing ahead of a GPU: other cores fetch, decode and prepare what its worker encodes.

A worker decodes on one core, which would leave a GPU waiting. Its helpers, actors of one thread on
cores that no worker holds, take the rows of a shard in chunks; the worker takes what they made of
them in order, and so writes the bytes that it would have written alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle, islice
from typing import Any

import encoders
from pipeline import begun, onecore
from pipeline.isolate import InActor
from pipeline.load import MEDIA
from pipeline.prepare import Found, Preparer
from pipeline.sources import Row, open_source
from pipeline.stopwatch import Stopwatch
from pipeline.units import Job

_CHUNK = {"image": 32, "audio": 16, "video": 1}  # rows: a tenth of a second or more of work
_BEGUN = 2  # chunks per helper that are begun and not taken: one done, one in the making


class HelperDied(Exception):
    """A helper is gone, perhaps because of a medium that it was given."""


def helped(job: Job) -> dict[str, int]:
    """Helpers of each worker, by modality: for media that a GPU encodes, the cores of the connected
    cluster that are left to each of its GPUs."""
    saved = job.saved
    seen = {
        modality: _left_over()
        for modality, section in saved.config.modalities.items()
        if section.kind in MEDIA
        and any(saved.settings[f.name].device == "cuda" for f in saved.config.features(modality))
    }
    return {modality: count for modality, count in seen.items() if count}


def _left_over() -> int:
    import ray

    total = ray.cluster_resources()
    gpus = total.get("GPU", 0)
    return int((total.get("CPU", 0) - gpus) // gpus) if gpus else 0


class Helpers:
    """`count` helpers for one modality; to be closed."""

    def __init__(self, job: Job, modality: str, count: int) -> None:
        import ray

        actor = ray.remote(num_cpus=1, max_restarts=0)(_Helper)
        self._actors = [actor.remote(job, modality) for _ in range(count)]
        self._chunk = _CHUNK[job.saved.config.modalities[modality].kind]

    def each(
        self, rows: Iterable[Row], watch: Stopwatch
    ) -> Iterator[tuple[str, Mapping[str, Found]]]:
        """As `Preparer.each`; to wait for them counts as decoding.

        Raises:
            HelperDied: the rows that were begun are to be prepared otherwise.
        """
        left = iter(rows)
        chunks = iter(lambda: list(islice(left, self._chunk)), [])
        calls = zip(cycle(self._actors), chunks, strict=False)
        given = (actor.prepare.remote(chunk) for actor, chunk in calls)
        for reference in begun.ahead(given, _BEGUN * len(self._actors)):
            watch.to("decode")
            yield from _taken(reference)

    def close(self) -> None:
        """End them."""
        import ray

        for actor in self._actors:
            ray.kill(actor)


class _Helper:
    """One core that prepares."""

    def __init__(self, job: Job, modality: str) -> None:
        onecore.begin()
        config = job.saved.config
        prepares = {
            feature.name: encoders.build(feature.encoder, device="meta")
            for feature in config.features(modality)
        }
        onecore.single_threaded()
        source = open_source(job.source, job.plan)
        self._preparer = Preparer(source, config, modality, prepares, InActor(config.media_limits))

    def prepare(self, rows: list[Row]) -> list[tuple[str, Mapping[str, Found]]]:
        """`Preparer.each` of a chunk."""
        return list(self._preparer.each(rows))


def _taken(reference: Any) -> list[tuple[str, Mapping[str, Found]]]:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as err:
        raise err.cause from None
    except ray.exceptions.RayError as err:
        raise HelperDied from err
