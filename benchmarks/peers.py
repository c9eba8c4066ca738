"""The public classes beside ours, on the same tensors: time, memory, state.

    python benchmarks/peers.py FOLDER        measure, write docs/results/fusion_peers
    python benchmarks/peers.py --tables      the page again from the numbers

FOLDER holds checkouts that are no part of this repository: block.bootstrap.pytorch (Cadene), MultiBench
(pliang279), mmf (facebookresearch), MoPoE (thomassutter), cca_zoo (jameschapman19). What is not there
is left out. Their classes run as they are, loaded without their frameworks; the one repair is the
Fourier transform mmf calls, which torch removed and whose replacement there is given other axes.

B = 256, 2048 + 768 -> 512, forward and backward. CPU milliseconds of one thread, ours and theirs in
turns, medians.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import fusion
from learning.correlation import squared_correlations
from learning.gaussian import mixture_of_products
from learning.meter import Meter

RESULTS = Path(__file__).parents[1] / "docs" / "results"
BATCH, FULL, SMALL, OUT = 256, (2048, 768), (256, 96), 512
REPEATS = 9
MEGA = 1e6


@dataclass(frozen=True)
class Case:
    """Two ways of one computation. sizes: of the two features; out: of the result.

    timed: False where a machine of 16 GB can't train it: bytes of a forward pass alone; ours on the meta
    device, theirs, which can't be built there, with a first feature of the length `cut`.
    """

    name: str
    peer: str
    theirs: Callable[[], nn.Module]
    ours: Callable[[], nn.Module]
    sizes: tuple[int, ...] = FULL
    target: str = ""
    timed: bool = True
    cut: int = FULL[0]


class Ours(nn.Module):
    """A fusion of ours, called as theirs are: with a list of tensors, all present."""

    def __init__(self, name: str, sizes: tuple[int, ...], **options: Any) -> None:
        super().__init__()
        self.fusion = fusion.build(name, {f"x{i}": d for i, d in enumerate(sizes)}, **options)

    def forward(self, values: list[Tensor]) -> Tensor:
        features = {f"x{i}": value for i, value in enumerate(values)}
        rows = {
            n: torch.ones(len(v), dtype=torch.bool, device=v.device) for n, v in features.items()
        }
        return self.fusion(features, rows).vector


class Products(nn.Module):
    """The fusion step of MoPoE alone: five experts (B, 512), their subsets' mixture."""

    def forward(self, values: list[Tensor]) -> Tensor:
        mean, log_variance = (torch.stack(values[i::2], dim=1) for i in (0, 1))
        present = torch.ones(mean.shape[:2], dtype=torch.bool)
        found = mixture_of_products(mean, log_variance, present)
        return torch.cat([found.mean, found.precision], dim=2)


class Correlations(nn.Module):
    """The loss of DCCA alone."""

    def forward(self, values: list[Tensor]) -> Tensor:
        return -squared_correlations(values[0], values[1], 1e-5)


class Bilinear(nn.Module):
    """torch's own."""

    def __init__(self, sizes: tuple[int, ...], out: int) -> None:
        super().__init__()
        self.own = nn.Bilinear(*sizes, out)

    def forward(self, values: list[Tensor]) -> Tensor:
        return self.own(*values)


def cases(folder: Path) -> Iterator[Case]:
    """Those whose peer is in the folder; nn.Bilinear always."""
    small = 64
    yield Case(
        "bilinear", "torch nn.Bilinear",
        lambda: Bilinear(SMALL, small), lambda: Ours("bilinear", SMALL, dim=small),
        SMALL, "3x faster",
    )  # fmt: skip
    if (mmf := folder / "mmf" / "mmf" / "modules" / "fusions.py").exists():
        own = _mmf(mmf)
        yield Case(
            "compact-bilinear, 16384", "mmf MCB, dense sketch",
            lambda: own.MCB(FULL, OUT, mm_dim=16384),
            lambda: Ours("compact-bilinear", FULL, dim=OUT, sketch=16384),
            target="3x faster, 64 KB of sketch",
        )  # fmt: skip
    block = folder / "block.bootstrap.pytorch" / "block" / "models" / "networks"
    if block.exists():
        yield from _block(_package("block_networks", block, "fusions.fusions"))
    if (multibench := folder / "MultiBench" / "fusions" / "common_fusions.py").exists():
        yield from _multibench(_file("multibench_fusions", multibench))
    if (mopoe := folder / "MoPoE").exists():
        yield Case(
            "mopoe, 5 features", "MoPoE BaseMMVae.inference",
            lambda: _mopoe(mopoe), Products, (512,) * 10, "8x faster",
        )  # fmt: skip
    if (zoo := folder / "cca_zoo" / "cca_zoo" / "deep" / "objectives.py").exists():
        loss = _file("cca_zoo_objectives", zoo).CCALoss
        for dim in (64, 128):
            yield Case(f"dcca loss, {dim}", "cca_zoo CCALoss", lambda: loss(1e-5), Correlations,
                       (dim, dim), "2x faster")  # fmt: skip


def _block(own: types.ModuleType) -> Iterator[Case]:
    yield Case(
        "block, 20 chunks of 80, rank 15", "block Block", lambda: own.Block(list(FULL), OUT),
        lambda: Ours("block", FULL, dim=OUT, chunks=20, size=80, rank=15), target="1.5x faster",
    )  # fmt: skip
    yield Case(
        "block-tucker, 20 chunks of 80", "block BlockTucker",
        lambda: own.BlockTucker(list(FULL), OUT),
        lambda: Ours("block-tucker", FULL, dim=OUT, chunks=20, size=80),
    )  # fmt: skip
    yield Case(
        "mutan, 400, rank 5", "block Mutan", lambda: own.Mutan(list(FULL), OUT, mm_dim=400, rank=5),
        lambda: Ours("mutan", FULL, dim=OUT, hidden=400, rank=5),
    )  # fmt: skip
    yield Case(
        "tucker, 160", "block Tucker", lambda: own.Tucker(list(FULL), OUT, mm_dim=160),
        lambda: Ours("tucker", FULL, dim=OUT, hidden=160),
    )  # fmt: skip
    yield Case(
        "mlb, 1200", "block MLB", lambda: own.MLB(list(FULL), OUT, mm_dim=1200),
        lambda: Ours("mlb", FULL, dim=OUT, hidden=1200),
    )  # fmt: skip


def _multibench(own: types.ModuleType) -> Iterator[Case]:
    def matrix(sizes: tuple[int, ...], out: int) -> nn.Module:
        return own.MultiplicativeInteractions2Modal(list(sizes), out, "matrix")

    yield Case(
        "lmf, rank 4", "MultiBench LowRankTensorFusion",
        lambda: own.LowRankTensorFusion(list(FULL), OUT, 4), lambda: Ours("lmf", FULL, dim=OUT, rank=4),
    )  # fmt: skip
    yield Case(
        "multiplicative-matrix", "MultiBench MultiplicativeInteractions2Modal",
        lambda: matrix(SMALL, 64), lambda: Ours("multiplicative-matrix", SMALL, dim=64), SMALL,
        "not slower",
    )  # fmt: skip
    yield Case(
        "multiplicative-matrix, full size", "MultiBench MultiplicativeInteractions2Modal",
        # Their intermediate (B, 768, 512) is the same whatever the first feature's length.
        lambda: matrix((64, FULL[1]), OUT), lambda: Ours("multiplicative-matrix", FULL, dim=OUT),
        target="50 MB forward", timed=False, cut=64,
    )  # fmt: skip
    yield Case(
        "lmf, rank 4, instead of a full tensor", "MultiBench TensorFusion", own.TensorFusion,
        lambda: Ours("lmf", FULL, dim=OUT, rank=4), target="10 MB forward", timed=False,
    )  # fmt: skip


# -- their classes without their frameworks


def _file(name: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"can't load {path}")
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


def _mmf(path: Path) -> types.ModuleType:
    def rfft(values: Tensor, signal_ndim: int = 1) -> Tensor:
        return torch.view_as_real(torch.fft.rfft(values))

    def irfft(values: Tensor, signal_ndim: int = 1, s: Any = None, **_: Any) -> Tensor:
        length = s[-1] if isinstance(s, (tuple, list, torch.Size)) else s
        return torch.fft.irfft(torch.view_as_complex(values.contiguous()), length)

    def register(_: str) -> Callable[[type], type]:
        return lambda own: own

    pieces: dict[str, dict[str, Any]] = {
        "mmf": {}, "mmf.common": {}, "mmf.utils": {},
        "mmf.common.registry": {"registry": types.SimpleNamespace(register_fusion=register)},
        "mmf.utils.general": {"get_chunks": None, "get_sizes_list": None, "rfft": rfft, "irfft": irfft},
        "mmf.utils.logger": {"log_class_usage": lambda *_: None},
    }  # fmt: skip
    for name, content in pieces.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    return _file("mmf_fusions", path)


def _mopoe(folder: Path) -> nn.Module:
    """The fusion step of their model, given what its encoders said."""
    pictures = ("transforms", "save_image", "make_grid", "Compose", "ToTensor")  # not needed here
    for name in ("torchvision", "torchvision.utils", "torchvision.transforms"):
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(dict.fromkeys(pictures))
    sys.path.insert(0, str(folder))
    try:
        from utils.BaseMMVae import BaseMMVae
    finally:
        sys.path.pop(0)
    names = [f"m{i}" for i in range(5)]

    class Step(BaseMMVae):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            mods = {n: types.SimpleNamespace(name=n) for n in names}
            chosen = [[n for i, n in enumerate(names) if k >> i & 1] for k in range(32)]
            self.modalities = mods
            self.subsets = {"_".join(own): [mods[n] for n in own] for own in chosen}
            self.flags = types.SimpleNamespace(
                device="cpu", batch_size=BATCH, class_dim=512, modality_jsd=False,
                alpha_modalities=[1 / 6] * 6, modality_poe=False, modality_moe=False, joint_elbo=True,
                factorized_representation=False,
            )  # fmt: skip
            self.set_fusion_functions()

        def encode(self, batch: dict[str, Any]) -> dict[str, Any]:
            return batch

        def forward(self, values: list[Tensor]) -> Tensor:
            batch = {n: values[2 * i : 2 * i + 2] for i, n in enumerate(names)}
            found = self.inference(batch, BATCH)
            return torch.stack([found["mus"], found["logvars"]])

    return Step()


# -- measuring


def measure(case: Case) -> dict[str, Any]:
    """One row: medians of milliseconds, peak bytes beside weights and gradients, parameters, buffers."""
    row: dict[str, Any] = {"name": case.name, "peer": case.peer, "target": case.target}
    if not case.timed:
        theirs = _forward_bytes(case.theirs, (case.cut, *case.sizes[1:]))
        ours = _forward_bytes(case.ours, case.sizes, device="meta")
        return row | {"theirs": {"forward_bytes": theirs}, "ours": {"forward_bytes": ours}}
    torch.manual_seed(0)
    modules = {"theirs": case.theirs(), "ours": case.ours()}
    values = [torch.randn(BATCH, size, requires_grad=True) for size in case.sizes]
    times: dict[str, list[float]] = {who: [] for who in modules}
    for _ in range(REPEATS + 1):
        for who, module in modules.items():
            started = time.process_time()
            _step(module, values)
            times[who].append(1000 * (time.process_time() - started))
    for who, module in modules.items():
        with Meter() as meter:
            _step(module, values)
        row[who] = {
            "ms": statistics.median(times[who][1:]),
            "spread": [min(times[who][1:]), max(times[who][1:])],
            "step_bytes": meter.peak,
            "forward_bytes": _forward_bytes(lambda module=module: module, case.sizes),
            "parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
            "state_bytes": _state(module),
        }
    return row


def _step(module: nn.Module, values: list[Tensor]) -> None:
    for tensor in [*module.parameters(), *values]:
        tensor.grad = None
    module(values).square().mean().backward()


def _forward_bytes(
    build: Callable[[], nn.Module], sizes: tuple[int, ...], device: str = "cpu"
) -> int:
    """The most bytes alive in a forward pass that keeps what the backward pass needs."""
    with torch.device(device):
        module = build()
        values = [torch.zeros(BATCH, size) for size in sizes]
        with Meter() as meter:
            module(values)
    return meter.peak


def _state(module: nn.Module) -> int:
    """What is stored and never learned: sketches, scalings."""
    fixed = [p for p in module.parameters() if not p.requires_grad]
    return sum(t.numel() * t.element_size() for t in [*fixed, *module.buffers()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="holds the checkouts")
    parser.add_argument("--tables", action="store_true", help="only rewrite the page")
    given = parser.parse_args()
    path = RESULTS / "fusion_peers.json"
    if not given.tables:
        if given.folder is None:
            print("no folder with the peers' checkouts is named: their numbers stay as they are")
            return
        torch.set_num_threads(1)
        rows = []
        for case in cases(given.folder):
            rows.append(measure(case))
            print(json.dumps(rows[-1]), flush=True)
        path.write_text(json.dumps(about() | {"rows": rows}, indent=2) + "\n", encoding="utf-8")
    results = json.loads(path.read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(page(results), encoding="utf-8")
    print(path.with_suffix(".md"))


def about() -> dict[str, Any]:
    """What the numbers are of."""
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=RESULTS, check=False)
    return {
        "format": 1,
        "command": "python benchmarks/peers.py FOLDER",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": found.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread, "
        f"load {os.getloadavg()[0]:.0f}",
        "torch": torch.__version__,
        "batch": BATCH,
        "repeats": REPEATS,
    }


def page(results: Mapping[str, Any]) -> str:
    """docs/results/fusion_peers.md."""
    text = [
        "# Fusion operators beside the public ones",
        "",
        f"Batch {results['batch']}, {FULL[0]} + {FULL[1]} -> {OUT} ({SMALL[0]} + {SMALL[1]} -> 64 where a",
        "weight for every pair is learned), forward and backward; CPU time of one thread, medians of "
        f"{results['repeats']} runs that took turns.",
        "MB: the most bytes alive in tensors during the forward pass, weights not counted. State: what is",
        "stored and never learned. Ours also checks its input, standardises it and honours presence.",
        "",
        "| case | theirs | ms | ours, ms | faster | MB | ours, MB | state, KB | ours, KB | aim |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in results["rows"]:
        theirs, ours = row["theirs"], row["ours"]
        timed = "ms" in ours
        cells = [
            row["name"],
            row["peer"],
            f"{theirs['ms']:.1f}" if timed else "",
            f"{ours['ms']:.1f}" if timed else "",
            f"{theirs['ms'] / ours['ms']:.1f}x" if timed else "",
            *(f"{side['forward_bytes'] / MEGA:.1f}" for side in (theirs, ours)),
            *(f"{side['state_bytes'] / 1024:.0f}" if timed else "" for side in (theirs, ours)),
            row["target"],
        ]
        text.append("| " + " | ".join(cells) + " |")
    text += [
        "",
        f"`{results['command']}`, {results['date']}, commit {results['commit']}, {results['machine']},",
        f"torch {results['torch']}. Written by `benchmarks/peers.py` from the .json file beside it.",
    ]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    main()
