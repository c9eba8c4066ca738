"""Where a training run stands, on disk: one safetensors file, replaced atomically. Never a pickle.

The optimiser's and the modules' tensors are stored under flat names; plain numbers in the header.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer


class Checkpoint:
    """One file holding the newest state of a run; `load` gives None before the first `save`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Replace the file; a crash at any moment leaves the earlier one or this one, whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".tmp-{os.getpid()}-{self.path.name}")
        contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        save_file(contiguous, temporary, metadata={"state": json.dumps(dict(state))})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self.path)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors and the state of the newest `save`; None where the file is damaged, too."""
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                return tensors, json.loads(file.metadata()["state"])
        except (SafetensorError, TypeError, KeyError, ValueError):
            return None  # what is lost is time

    def clear(self) -> None:
        """Forget the run: it has finished."""
        self.path.unlink(missing_ok=True)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors as `prefix/name`; cloned, since a state_dict shares memory with its module."""
    return {f"{prefix}/{name}": tensor.clone() for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors stored under `prefix/`."""
    start = f"{prefix}/"
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def optimiser_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser by parameter number and name; Adam keeps nothing but tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{number}/{key}": value for number, own in state.items() for key, value in own.items()}


def restore_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def clone_state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
