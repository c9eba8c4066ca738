"""Convert public VGGish weights from a PyTorch pickle to safetensors, once and explicitly:

    python -m encoders.vggish_weights vggish-10086976.pth vggish.safetensors

Takes torchvggish's and torchaudio's state dicts and their PCA parameters (.pth, .pt) and the
reference's PCA parameters (.npz). Pickles are opened by torch's restricted unpickler, which builds
tensors and runs no code; the encoder itself reads safetensors only.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file


def convert(source: str | Path, target: str | Path) -> None:
    """Write every tensor of `source` (.pth, .pt or .npz) to `target` (.safetensors) as float32.

    Raises:
        ValueError: the file holds something else than named arrays.
    """
    arrays = _read_npz(source) if str(source).endswith(".npz") else _read_pickle(source)
    if not arrays or not all(
        isinstance(value, torch.Tensor | np.ndarray) for value in arrays.values()
    ):
        raise ValueError(
            f"{str(source)!r} holds something else than named tensors: not a state dict"
        )
    tensors = {
        name: torch.as_tensor(value).detach().float().clone() for name, value in arrays.items()
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target)


def _read_npz(source: str | Path) -> Mapping[str, np.ndarray]:
    with np.load(source, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_pickle(source: str | Path) -> Mapping[str, Any]:
    """torchvggish's PCA file holds numpy arrays, so the parts of an array are allowed as well."""
    from numpy._core import multiarray

    reconstruct = multiarray._reconstruct
    array_parts: list[Any] = [
        (reconstruct, "numpy.core.multiarray._reconstruct"),  # its name before numpy 2
        reconstruct,
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
        np.dtypes.Float64DType,
    ]
    try:
        with torch.serialization.safe_globals(array_parts):
            content = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as err:  # whatever a damaged or hostile pickle sets off
        raise ValueError(
            f"{str(source)!r} is no state dict that can be read safely: {err}"
        ) from err
    return content if isinstance(content, Mapping) else {}


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    if len(arguments) != 2:
        print("usage: python -m encoders.vggish_weights SOURCE TARGET.safetensors", file=sys.stderr)  # noqa: T201
        return 2
    try:
        convert(*arguments)
    except (OSError, ValueError) as err:
        print(f"vggish_weights: {err}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
