"""Their classes as they are, loaded without their frameworks.

The one repair is the Fourier transform mmf calls, which torch removed and whose replacement there is
given other axes.
"""

import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Checkouts:
    """What a folder holds; None for what it does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # They call functions by names that torch has changed since.
        warnings.filterwarnings("ignore", module="multibench_fusions|mmf_fusions")

    @cached_property
    def multibench(self) -> types.ModuleType | None:
        """fusions.common_fusions of MultiBench."""
        return self._file("multibench_fusions", "MultiBench/fusions/common_fusions.py")

    @cached_property
    def block(self) -> types.ModuleType | None:
        """The fusions of block.bootstrap.pytorch."""
        folder = self.folder / "block.bootstrap.pytorch" / "block" / "models" / "networks"
        return _package("block_networks", folder, "fusions.fusions") if folder.exists() else None

    @cached_property
    def mmf(self) -> types.ModuleType | None:
        """mmf.modules.fusions."""
        _stand_in_for_mmf()
        return self._file("mmf_fusions", "mmf/mmf/modules/fusions.py")

    @cached_property
    def torchmultimodal(self) -> types.SimpleNamespace | None:
        """The classes of torchmultimodal.modules.fusions, and its MLP."""
        modules = "multimodal/torchmultimodal/modules"
        wanted = {
            "ConcatFusionModule": "fusions/concat_fusion.py",
            "AttentionFusionModule": "fusions/attention_fusion.py",
            "DeepsetFusionModule": "fusions/deepset_fusion.py",
            "MLP": "layers/mlp.py",
        }
        found = {
            name: self._file(f"torchmultimodal_{name}", f"{modules}/{path}")
            for name, path in wanted.items()
        }
        if None in found.values():
            return None
        return types.SimpleNamespace(**{name: getattr(own, name) for name, own in found.items()})

    @cached_property
    def cca_zoo(self) -> types.ModuleType | None:
        """cca_zoo.deep.objectives."""
        return self._file("cca_zoo_objectives", "cca_zoo/cca_zoo/deep/objectives.py")

    @cached_property
    def mopoe(self) -> type | None:
        """MoPoE's BaseMMVae."""
        folder = self.folder / "MoPoE"
        if not folder.exists():
            return None
        pictures = ("transforms", "save_image", "make_grid", "Compose", "ToTensor")
        for name in ("torchvision", "torchvision.utils", "torchvision.transforms"):
            _stand_in(name, dict.fromkeys(pictures))  # imported there, not needed here
        sys.path.insert(0, str(folder))
        try:
            from utils.BaseMMVae import BaseMMVae
        finally:
            sys.path.pop(0)
        return BaseMMVae

    def _file(self, name: str, path: str) -> types.ModuleType | None:
        whole = self.folder / path
        if not whole.exists():
            return None
        spec = importlib.util.spec_from_file_location(name, whole)
        if spec is None or spec.loader is None:
            raise ImportError(f"can't load {whole}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module


def _package(name: str, folder: Path, module: str) -> types.ModuleType:
    """A module of a package whose __init__ files are not run: they would import a framework."""
    parts = module.split(".")
    for depth in range(len(parts)):
        package = types.ModuleType(".".join([name, *parts[:depth]]))
        package.__path__ = [str(folder.joinpath(*parts[:depth]))]
        sys.modules[package.__name__] = package
    return importlib.import_module(f"{name}.{module}")


def _stand_in_for_mmf() -> None:
    """What its fusions import of the framework."""

    def rfft(values: Tensor, signal_ndim: int = 1) -> Tensor:
        return torch.view_as_real(torch.fft.rfft(values))

    def irfft(values: Tensor, signal_ndim: int = 1, s: Any = None, **_: Any) -> Tensor:
        length = s[-1] if isinstance(s, (tuple, list, torch.Size)) else s
        return torch.fft.irfft(torch.view_as_complex(values.contiguous()), length)

    def register(_: str) -> Callable[[type], type]:
        return lambda own: own

    registry = types.SimpleNamespace(register_fusion=register)
    # Parts of Block, which is measured as its authors wrote it.
    chunks = dict.fromkeys(("get_chunks", "get_sizes_list"))
    for name in ("mmf", "mmf.common", "mmf.utils"):
        _stand_in(name, {})
    _stand_in("mmf.common.registry", {"registry": registry})
    _stand_in("mmf.utils.general", {**chunks, "rfft": rfft, "irfft": irfft})
    _stand_in("mmf.utils.logger", {"log_class_usage": lambda *_: None})


def _stand_in(name: str, content: dict[str, Any]) -> None:
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)
