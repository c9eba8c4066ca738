"""Where a training runs: a Ray task for one worker, Ray Train for several, watched by the driver."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from learning import parallel
from pipeline import bucket, cluster, files
from pipeline.cluster import Resources
from pipeline.errors import PolyfuseError
from pipeline.fit.train import Outcome, Task, train_model
from pipeline.models import PROGRESS
from pipeline.progress import Progress

_TRIES = 3  # a worker that dies is replaced, and goes on from the checkpoint
_EVERY = 0.5  # seconds between two looks at how far it is


def run_training(task: Task, resources: Resources, progress: Progress) -> Outcome:
    """Train on Ray and tell how it goes.

    Raises:
        PolyfuseError: of the training, or because its workers died too often.
    """
    with _watched(task, progress):
        what = f"fit {task.model}"
        if task.training.workers == 1:
            return cluster.once(train_model, [task], resources, what, tries=_TRIES, patience=None)
        return _together(task, resources, what)


def _together(task: Task, resources: Resources, what: str) -> Outcome:
    """Data-parallel over Ray Train workers; every one gets its share of each batch."""
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    scratch = task.folder / f"{files.TEMPORARY}ray"
    result = scratch / "outcome.json"
    trainer = TorchTrainer(
        _one_of_several,
        train_loop_config={"task": task, "result": str(result)},
        torch_config=TorchConfig(backend="nccl" if resources.gpus else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=task.training.workers,
            use_gpu=bool(resources.gpus),
            resources_per_worker={"CPU": resources.cpus, "GPU": resources.gpus},
        ),
        run_config=train.RunConfig(
            name="train",
            storage_path=bucket.key(scratch) if bucket.holds(scratch) else str(scratch),
            storage_filesystem=bucket.for_arrow(scratch) if bucket.holds(scratch) else None,
            failure_config=train.FailureConfig(max_failures=_TRIES),
        ),
    )
    try:
        trainer.fit()
        return Outcome.read(result)
    except train.TrainingFailedError as err:
        raise _ours(err, what) from err
    finally:
        with contextlib.suppress(OSError):
            files.remove_tree(scratch)


def _one_of_several(config: dict[str, Any]) -> None:
    outcome = train_model(config["task"])
    if parallel.rank() == 0:
        files.publish(files.at(config["result"]), outcome.to_json())


def _ours(err: Any, what: str) -> PolyfuseError:
    """The error of the first worker that failed, if it is one for a person."""
    for failure in getattr(err, "worker_failures", {}).values():
        cause = getattr(failure, "cause", failure)
        if isinstance(cause, PolyfuseError):
            return cause
    text = str(err).strip().splitlines()
    return PolyfuseError(f"{what}: {text[-1] if text else type(err).__name__}")


@contextlib.contextmanager
def _watched(task: Task, progress: Progress) -> Iterator[None]:
    """Pass on what the worker writes about its progress, until the block ends."""
    done = threading.Event()
    path = task.folder / PROGRESS
    files.remove(path)
    progress.stage(f"fit {task.model}", task.training.steps, unit="steps")

    def watch() -> None:
        step, last = 0, False
        while not last:
            last = done.wait(_EVERY)  # one more look at the end: a short training is over at once
            with contextlib.suppress(PolyfuseError):  # not there yet
                now = files.read_json(path)
                if now["step"] > step:
                    progress.advance(now["step"] - step, note=_losses(now))
                    step = now["step"]

    thread = threading.Thread(target=watch, name="training", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        files.remove(path)


def _losses(now: dict[str, Any]) -> str:
    valid = "" if now["valid"] is None else f", valid {now['valid']:.4f}"
    return f"loss {now['train']:.4f}{valid}"
