"""The network of an encoder computed by OpenVINO instead of torch, on a CPU, where it is installed.

A network is converted when its first batch comes (the first with inputs of these names), from its
torch module with weights in fp32, and compiled for one stream of as many threads as torch then has.
What is converted is what torch traced for the first rows of that batch; so every new shape of a row is
tried first, with numbers that depend on no record, and a shape for which OpenVINO and torch do not agree
is left to torch.
"""

import importlib.util
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from encoders.agreement import least_cosine
from encoders.checkpoint import quiet
from encoders.failures import first_line
from encoders.precision import COSINE

MISSING = "openvino is not installed; pip install 'polyfuse[openvino]' on every node, or choose auto or torch"
_HINTS = {"fp32": "f32", "bf16": "bf16"}
# Rows that are traced: torch computes them in fp32, a whole batch would take longer than all the rest.
_TRACED = 2
_COMPARED = 3  # rows of a trial: another number than was traced


def installed() -> bool:
    """Whether there is an OpenVINO in this process's environment."""
    return importlib.util.find_spec("openvino") is not None


def candidates(asked: str, device: str) -> tuple[str, ...]:
    """The runtimes to try, the fastest first. asked: auto | openvino | torch; device: cpu | cuda."""
    if asked != "auto":
        return (asked,)
    return ("openvino", "torch") if device == "cpu" and installed() else ("torch",)


class Compiled(nn.Module):
    """Takes and gives what `module` does.

    Args:
        module: on the CPU, in fp32; its inputs are tensors given by name.
        precision: fp32 or bf16.

    Raises:
        ValueError: OpenVINO is not installed, or does not compute in this precision.
    """

    def __init__(self, module: nn.Module, precision: str) -> None:
        super().__init__()
        if not installed():
            raise ValueError(f"runtime: {MISSING}")
        if precision not in _HINTS:
            raise ValueError(f"runtime openvino computes in {' | '.join(_HINTS)}, not {precision}")
        self.module = module
        self._hint = _HINTS[precision]
        self._networks: dict[tuple[str, ...], Any] = {}  # requests, by the names of inputs
        self._agrees: dict[tuple[tuple[str, torch.Size], ...], bool] = {}

    def forward(self, **inputs: Tensor) -> Tensor:
        """As `module`, float32."""
        if tuple(inputs) not in self._networks:
            few = {name: value[:_TRACED] for name, value in inputs.items()}
            self._networks[tuple(inputs)] = self._compile(few)
        shapes = tuple((name, value.shape[1:]) for name, value in inputs.items())
        if shapes not in self._agrees:
            self._agrees[shapes] = self._compare(inputs)
        return self._compute(inputs) if self._agrees[shapes] else self.module(**inputs)

    def finish(self, vectors: Tensor) -> Tensor:
        """As `Backbone.finish`: outside of the network."""
        return self.module.finish(vectors)  # type: ignore[operator]

    def _compare(self, inputs: dict[str, Tensor]) -> bool:
        sample = {name: _sample(value, _COMPARED) for name, value in inputs.items()}
        exact = self.module(**{name: value[:1] for name, value in sample.items()}).float()
        found = self._compute(sample)[:1]
        # One vector a row, or one a token.
        return least_cosine(exact.flatten(0, -2).numpy(), found.flatten(0, -2).numpy()) >= COSINE

    def _compute(self, inputs: dict[str, Tensor]) -> Tensor:
        values = [value.contiguous().numpy() for value in inputs.values()]
        found = self._networks[tuple(inputs)].infer(values, share_inputs=True)[0]
        return torch.from_numpy(found)

    def _compile(self, example: dict[str, Tensor]) -> Any:
        try:
            network = self._convert(example)
        except Exception as err:  # of many types, torch's and OpenVINO's
            raise RuntimeError(f"OpenVINO can't convert this network: {first_line(err)}") from err
        from openvino import Core

        settings = {
            "INFERENCE_PRECISION_HINT": self._hint,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # each worker would take the same cores
        }
        return Core().compile_model(network, "CPU", settings).create_infer_request()

    def _convert(self, example: dict[str, Tensor]) -> Any:
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: that is what `_compare` is for
            traced = torch.jit.trace(
                _ByPlace(self.module, list(example)), tuple(example.values()), check_trace=False
            )
        # Not `openvino.convert_model`: that reports its use over the network unless told not to.
        front_end = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced)  # the front end holds no reference to it
        return front_end.convert(front_end.load(decoder))


def runtime_of(module: nn.Module) -> str:
    """torch | openvino: what computes it."""
    return "openvino" if isinstance(module, Compiled) else "torch"


def _sample(like: Tensor, rows: int) -> Tensor:
    """Numbers that any model takes, which depend on the shape alone: no record decides who computes
    the next one. Ones are tokens that exist, a mask that masks nothing, and a row that is not empty."""
    shape = (rows, *like.shape[1:])
    if not like.is_floating_point():
        return torch.ones(shape, dtype=like.dtype)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


class _ByPlace(nn.Module):
    """A module whose inputs have names, called with them in order: a trace knows no others."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module = module
        self._names = names

    def forward(self, *values: Tensor) -> Tensor:
        return self.module(**dict(zip(self._names, values, strict=True)))
