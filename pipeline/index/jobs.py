"""Which indexes a run has, which of them are stale, and building those on Ray.

A task builds one index; where there are several machines, tasks on all of them fill its inverted lists.
FAISS gets processes of its own: beside torch, two OpenMP runtimes would share one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fusion
from pipeline import cluster, files
from pipeline.errors import PolyfuseError
from pipeline.index import manifests, shards
from pipeline.index.build import build_index
from pipeline.index.shards import Filled
from pipeline.models import folder_of, inputs
from pipeline.progress import Progress
from pipeline.saved import SavedRun
from pipeline.store import Snapshot

_SMALL = 100_000  # rows below which several indexes are built side by side, one core each


@dataclass(frozen=True)
class IndexJob:
    """One index to build: over a feature or over a model's fused vectors."""

    name: str
    folder: str
    metric: str
    identities: dict[str, dict[str, Any]]


def wanted(saved: SavedRun) -> list[IndexJob]:
    """An index for every feature and every model that has vectors."""
    config = saved.config
    jobs = []
    for feature in config.features():
        identities = {feature.name: asdict(saved.identities[feature.name])}
        jobs.append(
            IndexJob(feature.name, f"features/{feature.name}", config.index.metric, identities)
        )
    for model in config.models:
        if model not in saved.identities:
            continue  # not trained
        names = [model, *inputs(config, model)]
        identities = {name: asdict(saved.identities[name]) for name in names}
        metric = fusion.FUSIONS[config.models[model].name].metric or config.index.metric
        jobs.append(IndexJob(model, folder_of(config, model), metric, identities))
    return jobs


def drop_unwanted(run: Path, saved: SavedRun) -> None:
    """Remove the indexes of features and models that the configuration no longer has."""
    names = {job.name for job in wanted(saved)}
    for name in files.names(run / "index"):
        if name not in names:
            files.remove_tree(run / "index" / name)


def stale(run: Path, saved: SavedRun) -> list[IndexJob]:
    """The indexes that are missing or were built from other vectors."""
    snapshot = Snapshot.latest(run)
    return [job for job in wanted(saved) if not _is_current(run, job, snapshot)]


def _is_current(run: Path, job: IndexJob, snapshot: Snapshot) -> bool:
    """Whether an index is there, whole, and of these vectors: what is damaged is built again."""
    try:
        version = manifests.current(run / "index" / job.name)
        if version is None:
            return False
        manifest = manifests.read_manifest(version)
        manifests.check_files(version, manifest)
    except PolyfuseError:
        return False
    return manifest.snapshot["digest"] == snapshot.digest and manifest.metric == job.metric


def build(run: Path, jobs: list[IndexJob], memory: int, progress: Progress) -> None:
    """Build indexes as Ray tasks, small ones side by side.

    Raises:
        PolyfuseError: a memory cap that no index type meets, with the smallest need.
    """
    import ray

    snapshot = Snapshot.latest(run)
    records = snapshot.parts("records")
    rows = sum(part.rows for part in records)
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    threads = 1 if rows < _SMALL else min(cores, _largest_node())
    helpers = cores if rows >= _SMALL and _machines() > 1 else 0
    progress.stage("index", rows * len(jobs))
    task = ray.remote(num_cpus=threads, max_retries=2)(_build_one)
    waiting = {
        task.remote(
            job, snapshot.parts(job.folder), records, run, memory, snapshot, threads, helpers
        ): job
        for job in jobs
    }
    while waiting:
        ready, _ = ray.wait(list(waiting))
        cluster.result(ready[0], f"index {waiting.pop(ready[0]).name}")
        progress.advance(rows)


def build_here(run: Path, jobs: list[IndexJob], memory: int, progress: Progress) -> None:
    """The same in this process and on one thread, for few vectors; raises as `build` does."""
    snapshot = Snapshot.latest(run)
    records = snapshot.parts("records")
    rows = sum(part.rows for part in records)
    progress.stage("index", rows * len(jobs))
    for job in jobs:
        _build_one(job, snapshot.parts(job.folder), records, run, memory, snapshot, threads=1)
        progress.advance(rows)


def _largest_node() -> int:
    import ray

    return int(max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"]))


def _machines() -> int:
    import ray

    return sum(node["Alive"] and "CPU" in node["Resources"] for node in ray.nodes())


def _build_one(
    job: IndexJob,
    vectors: list[Any],
    records: list[Any],
    run: Path,
    memory: int,
    snapshot: Snapshot,
    threads: int,
    helpers: int = 0,
) -> None:
    """helpers: workers on all machines that may fill its lists; 0: this one does it."""

    def fill(calls: Iterable[tuple[Any, ...]]) -> Iterator[Filled]:
        what = f"index {job.name}"
        return cluster.in_order(shards.fill, calls, cluster.Resources(), what, ahead=helpers)

    build_index(
        job.name,
        vectors,
        records,
        run / "index" / job.name,
        metric=job.metric,
        memory=memory,
        snapshot=snapshot,
        identities=job.identities,
        threads=threads,
        helpers=shards.Helpers(helpers, fill) if helpers else None,
    )
