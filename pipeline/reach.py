"""What the workers of a cluster can reach, asked before any work: one sentence, not a thousand errors."""

from pathlib import Path

from pipeline import cluster
from pipeline.errors import ConfigError, PolyfuseError
from pipeline.sources import SourceSpec, open_source


def check(source: SourceSpec, lease: Path) -> None:
    """Ask a worker to open the source and to find the lease that this driver has just written.

    Args:
        lease: the folder RUN/lease, which exists on this machine.

    Raises:
        PolyfuseError: the worker sees another file system than the driver.
    """
    problem = cluster.once(
        _look, (source, lease), cluster.Resources(), "asking a worker what it can read"
    )
    if problem:
        raise PolyfuseError(
            f"the workers of this cluster can't {problem}; put source and output on storage that "
            "every node mounts under the same path (docs/cluster.md)"
        )


def has_cuda() -> bool:
    """Whether torch on a worker with a GPU can use it; nothing is asked where no node has one."""
    return bool(cluster.gpus()) and cluster.once(
        _cuda, (), cluster.resources_on("cuda"), "asking a worker for its GPU"
    )


def _look(source: SourceSpec, lease: Path) -> str:
    try:
        open_source(source)
    except ConfigError as err:
        return f"read the source ({err})"
    return "" if lease.is_dir() else f"see the output folder {lease.parent}"


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
