"""Weight files on disk: safetensors only, since a pickle may run code when it is opened."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def digest(path: str | Path) -> str:
    """sha256 of a file, in hexadecimal digits; kept while its size and time stay as they are."""
    state = Path(path).stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: str | Path, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: str, option: str, advice: str) -> None:
    """Refuse a weight file that is missing or no safetensors, before anything is planned.

    Args:
        path: what the user gave.
        option: its name in the configuration, for the message.
        advice: where such a file comes from, or how to convert one.

    Raises:
        ValueError: the file isn't there, or is of another format.
    """
    if not Path(path).is_file():
        raise ValueError(f"{option}: no file at {path!r}. {advice}")
    if not path.endswith(".safetensors"):
        raise ValueError(f"{option}: expected a .safetensors file, got {path!r}. {advice}")


def load(path: str) -> "dict[str, torch.Tensor]":
    """Every tensor of a safetensors file, as float32 on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except SafetensorError as err:
        raise ValueError(f"{path!r} is not a readable safetensors file: {err}") from err


def require(
    found: "Mapping[str, torch.Tensor]", expected: "Mapping[str, torch.Tensor]", path: str
) -> "dict[str, torch.Tensor]":
    """The expected tensors out of those found; others are left out.

    Raises:
        ValueError: one is missing or has another shape; lists what was found and what is expected.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    present = {name: tuple(tensor.shape) for name, tensor in found.items()}
    wrong = {name: shape for name, shape in wanted.items() if present.get(name) != shape}
    if wrong:
        raise ValueError(
            f"{path!r} holds other tensors than expected. Found: {_listed(present)}. "
            f"Missing or of another shape: {_listed(wrong)}"
        )
    return {name: found[name] for name in wanted}


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    shown = [f"{name} {list(shape)}" for name, shape in sorted(shapes.items())]
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    return (", ".join(shown[:12]) or "nothing") + more
