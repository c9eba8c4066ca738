"""Everything about Ray: connect, check that the work can be placed, stream units through actors.

Ray Data is the engine and its rows are unit descriptors only: no read or write operator (beside
actors that reserve every CPU those make no progress, without a word) and no shard of data in a
block (blocks get split). One single-threaded actor per core; the actor owns its shard.
"""

import contextlib
import logging
import os
import pickle
import socket
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from encoders.failures import first_line
from pipeline import begun
from pipeline.errors import PolyfuseError
from pipeline.units import Job, Unit
from pipeline.work import RayWorker

# Ray Data's own defaults are endless: one medium that kills its worker would loop for ever.
_RESTARTS = 1000
# Of one unit; a task may hold several. A worker that dies takes along the task that waits behind its
# own, so that tries are lost on what was never begun.
_TRIES = 8
_BLOCKS = 2000
_OBJECT_STORE = 200_000_000  # only descriptors travel
_ANSWER = 20.0  # seconds for a cluster to accept a connection
_HEAD_PULSE, _HEAD_PATIENCE = 2.0, 60.0  # seconds; the second as in Ray 2.60
_THREADS = 3.0  # seconds for a thread of Ray Data to end
# A Ray of our own lives for one command, and nobody looks at its metrics and events, which would take
# 1.5 % of two cores.
_UNWATCHED = {
    "enable_metrics_collection": False,
    "event_stats": False,
    "task_events_report_interval_ms": 0,
}
_REMOTE_WAIT = 600.0  # seconds to wait for an autoscaler


@dataclass(frozen=True)
class Resources:
    """What one actor asks for."""

    cpus: float = 1
    gpus: float = 0

    def __str__(self) -> str:
        return f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")


def resources_on(device: str) -> Resources:
    """What an actor for work on "cpu" or "cuda" asks for."""
    return Resources(cpus=1, gpus=1 if device == "cuda" else 0)


@contextlib.contextmanager
def connected(address: str | None, workers: int | str) -> Iterator[None]:
    """A Ray for the time of a command: the cluster at `address`, or one in this process.

    Raises:
        PolyfuseError: the address does not answer, or Ray can't start here.
    """
    # Ray reads these when it starts. RAY_AUTH_MODE is left alone: a Ray of our own has tokens on by
    # default, and a driver that asks for tokens loses its actors on a cluster that does not.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    _token_path()
    import ray

    if ray.is_initialized():  # the caller's own cluster (a test, a notebook) stays the caller's
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        _check_answers(address)
        options |= {"address": address, **_runtime_environment()}
    else:
        # Without "local" Ray joins whatever cluster somebody started on this machine.
        options |= {"address": "local", "include_dashboard": False}
        options |= {"object_store_memory": _OBJECT_STORE, "_system_config": _UNWATCHED}
        if isinstance(workers, int):
            options["num_cpus"] = workers
    try:
        ray.init(**options)
    except Exception as err:  # Ray raises bare ones, too
        where = f"reach the Ray cluster at {address}" if address else "start Ray here"
        raise PolyfuseError(f"can't {where}: {first_line(err)}") from err
    over = threading.Event()
    if address:
        head = ray.get_runtime_context().gcs_address
        threading.Thread(target=_watch_head, args=(head, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        _stop_streaming()
        ray.shutdown()


def _watch_head(address: str, over: threading.Event) -> None:
    """End this process when the head has not listened for as long as Ray means to wait for it.

    A head that loses its power or its network closes no connection, and Ray waits for answers on
    those for many minutes before that time even begins. The end is the one that Ray itself makes.
    """
    patience = float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", _HEAD_PATIENCE))
    heard = time.monotonic()
    while not over.wait(_HEAD_PULSE):
        with contextlib.suppress(PolyfuseError):
            _check_answers(address)
            heard = time.monotonic()
        if time.monotonic() - heard > patience:
            os._exit(1)


def _stop_streaming() -> None:
    """End the threads of Ray Data: one that still asks for something while Ray shuts down makes Ray
    end the whole process from native code, before the error at hand is told."""
    for thread in threading.enumerate():
        if thread.name.startswith("StreamingExecutor-"):
            thread.shutdown(force=True)  # type: ignore[attr-defined]
        if thread.name.startswith(("StreamingExecutor-", "Prefetcher", "iter_threaded")):
            thread.join(_THREADS)


def _check_answers(address: str) -> None:
    """Ray itself tries an address where nobody listens for many minutes, without a word."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():  # "auto": Ray looks it up
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER).close()
    except OSError as err:
        raise PolyfuseError(
            f"can't reach the Ray cluster at {address}: {err.strerror or err}; "
            "is it up, and is this its address?"
        ) from err


def _token_path() -> None:
    """Ray keeps its token in HOME; where that can't be written it needs another place."""
    home = Path.home()
    if not os.access(home, os.W_OK) and "RAY_AUTH_TOKEN" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN_PATH", f"/tmp/polyfuse-{os.getuid()}/auth_token")


def _runtime_environment() -> dict[str, Any]:
    """Ship this checkout to the nodes, unless `ray job submit` has done so."""
    root = Path(__file__).resolve().parent.parent
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ or not (root / "pyproject.toml").exists():
        return {}
    excludes = [".git", ".venv", "/tests", "/docs", "/benchmarks", "/runs", "/demo", "__pycache__"]
    return {"runtime_env": {"working_dir": str(root), "excludes": excludes}}


def is_remote(address: str | None) -> bool:
    """Whether workers may run on other machines than this one."""
    return bool(address or os.environ.get("RAY_ADDRESS"))


def worker_count(workers: int | str, resources: Resources) -> int:
    """How many actors to begin with: as many as fit now, at most the number asked for."""
    import ray

    total = ray.cluster_resources()
    room = int(total.get("CPU", 0) // resources.cpus) if resources.cpus else 1
    if resources.gpus:
        room = min(room, int(total.get("GPU", 0) // resources.gpus))
    return max(1, min(room, workers) if isinstance(workers, int) else room)


def gpus() -> int:
    """GPUs of the connected cluster."""
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def check_placeable(resources: Resources, *, remote: bool, say: Callable[[str], None]) -> None:
    """Fail at once when no node can ever hold one actor; on a cluster wait for nodes, and say so.

    Raises:
        PolyfuseError: with what was asked for and what there is.
    """
    import ray

    deadline = time.monotonic() + (_REMOTE_WAIT if remote else 0)
    told = False
    while True:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(
            node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= resources.gpus
            for node in nodes
        ):
            return
        largest = max(
            (f"{n.get('CPU', 0):g} CPU, {n.get('GPU', 0):g} GPU" for n in nodes), default="none"
        )
        if time.monotonic() >= deadline:
            raise PolyfuseError(
                f"a worker needs {resources} on one node, and no node has that (largest: {largest}); "
                "add such a node, or force another device or precision in the configuration"
            )
        if not told:
            say(
                f"waiting up to {_REMOTE_WAIT:.0f} s for a node with {resources} (largest now: {largest})"
            )
            told = True
        time.sleep(2)


def once(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    resources: Resources,
    what: str,
    *,
    tries: int = 1,
    patience: float | None = _REMOTE_WAIT,
) -> Any:
    """One call of a function on a worker with these resources; `what` begins the message if it fails.

    tries: new workers after one has died. patience: seconds that it may take; None: any time.

    Raises:
        PolyfuseError: of the work itself, or no node took it, or the worker died or raised.
    """
    import ray

    task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=tries)(function)
    reference = task.remote(*arguments)
    if not ray.wait([reference], timeout=patience)[0]:
        raise PolyfuseError(
            f"{what}: no node with {resources} took it within {patience:.0f} s; add such a node"
        )
    return result(reference, what)


def in_order(
    function: Callable[..., Any],
    calls: Iterable[Sequence[Any]],
    resources: Resources,
    what: str,
    *,
    ahead: int,
) -> Iterator[Any]:
    """The results of many calls in their order, at most `ahead` of them begun and not yet taken.

    Raises:
        PolyfuseError: as `once`.
    """
    import ray

    task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=_TRIES)(
        function
    )
    for reference in begun.ahead((task.remote(*call) for call in calls), ahead):
        yield result(reference, what)


def result(reference: Any, what: str) -> Any:
    """What a Ray task gave; raises as `once` does."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as err:
        if isinstance(err.cause, PolyfuseError):
            raise err.cause from None
        raise PolyfuseError(f"{what}: {type(err.cause).__name__}: {err.cause}") from err
    except ray.exceptions.RayError as err:
        raise PolyfuseError(f"{what}: the worker died") from err


def _finite(units: int, blocks: int) -> dict[str, int]:
    """A worker may die on each unit of its task: the ledger remembers which ones are done."""
    return {"max_restarts": _RESTARTS, "max_task_retries": _TRIES * ceil(units / blocks)}


def stream(
    job: Job, units: Sequence[Unit], resources: Resources, *, workers: int, most: int
) -> Generator[dict[str, Any], None, None]:
    """Run the units on a pool of actors; yields each one's report as it finishes.

    The pool begins with `workers` actors and may grow to `most`: asking for more than fits is what
    makes an autoscaler start nodes.

    Raises:
        PolyfuseError: the pool died more often than it may.
    """
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.actor_task_retry_on_errors = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # The only way to bound the restarts in Ray 2.60, which already calls it deprecated.
    warnings.filterwarnings("ignore", message=".*ray_remote_args_fn.*")
    rows = [{"unit": pickle.dumps(unit)} for unit in units]
    blocks = min(len(rows), _BLOCKS)
    dataset = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        RayWorker,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=min(workers, len(rows)), max_size=min(most, len(rows))
        ),
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        ray_remote_args_fn=partial(_finite, len(rows), blocks),
    )
    found = iter(dataset.iter_rows())
    try:
        for row in found:
            report = pickle.loads(row["report"])
            if isinstance(report, PolyfuseError):
                raise report
            yield report
    except ray.exceptions.RayError as err:
        text = " ".join(str(err).split())
        raise PolyfuseError(f"the workers died more often than they may: {text[-400:]}") from err
    finally:
        found.close()  # ends its threads now; an error at hand would keep them alive
