"""Who meets whom on AV-MNIST-Open: their class beside our operator, in the sizes ours has there."""

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmarks.avmnist.folds import DIMS
from benchmarks.avmnist.recipe import DIM
from benchmarks.peers.adapters import Named, deep_set, named
from benchmarks.peers.checkouts import Checkouts

SIZES = [DIMS[name] for name in sorted(DIMS)]


@dataclass(frozen=True)
class Rival:
    """One of their classes. ours: the operator beside it; build: from the options ours has."""

    name: str
    ours: str
    build: Callable[[Any], nn.Module]


def rivals(peers: Checkouts) -> Iterator[Rival]:
    """Those whose peer is there."""
    if peers.multibench is not None:
        yield from _multibench(peers.multibench)
    if peers.torchmultimodal is not None:
        yield from _torchmultimodal(peers.torchmultimodal)
    if peers.block is not None:
        yield from _block(peers.block)
    if (mmf := peers.mmf) is not None:
        yield Rival("mmf MCB", "compact-bilinear", lambda o: mmf.MCB(SIZES, DIM, mm_dim=o.sketch))


def _multibench(own: types.ModuleType) -> Iterator[Rival]:
    def low_rank(options: Any) -> Any:
        return own.LowRankTensorFusion(SIZES, DIM, options.rank)

    def repaired(options: Any) -> nn.Module:
        module = low_rank(options)
        module.factors = nn.ParameterList(
            module.factors
        )  # a plain list there, unknown to optimisers
        return module

    def interactions(out: int, kind: str) -> nn.Module:
        return own.MultiplicativeInteractions2Modal(SIZES, out, kind)

    yield Rival("MultiBench Concat", "stack", lambda _: own.Concat())
    yield Rival("MultiBench TensorFusion", "tfn", lambda _: own.TensorFusion())
    yield Rival("MultiBench LowRankTensorFusion", "lmf", low_rank)
    yield Rival("MultiBench LowRankTensorFusion, repaired", "lmf", repaired)
    yield Rival(
        "MultiBench MultiplicativeInteractions2Modal, matrix",
        "multiplicative-matrix",
        lambda _: interactions(DIM, "matrix"),
    )
    yield Rival(
        "MultiBench MultiplicativeInteractions2Modal, vector",
        "film",
        lambda _: interactions(SIZES[1], "vector"),
    )


def _torchmultimodal(own: types.SimpleNamespace) -> Iterator[Rival]:
    yield Rival(
        "torchmultimodal ConcatFusionModule, projection",
        "sum",
        lambda _: Named(own.ConcatFusionModule(nn.Linear(sum(SIZES), DIM))),
    )
    yield Rival(
        "torchmultimodal AttentionFusionModule",
        "attention-sum",
        lambda _: Named(own.AttentionFusionModule(named(SIZES), DIM)),
    )
    yield Rival(
        "torchmultimodal DeepsetFusionModule", "deep-set", lambda _: deep_set(own, SIZES, DIM)
    )


def _block(own: types.ModuleType) -> Iterator[Rival]:
    yield Rival("block LinearSum", "sum", lambda _: own.LinearSum(SIZES, DIM, mm_dim=DIM))
    yield Rival("block MLB", "mlb", lambda o: own.MLB(SIZES, DIM, mm_dim=o.hidden))
    yield Rival("block MFB", "mfb", lambda o: own.MFB(SIZES, DIM, mm_dim=DIM, factor=o.pool))
    yield Rival(
        "block MFH", "mfh", lambda o: own.MFH(SIZES, DIM, mm_dim=DIM // o.order, factor=o.pool)
    )
    yield Rival("block Tucker", "tucker", lambda o: own.Tucker(SIZES, DIM, mm_dim=o.hidden))
    yield Rival(
        "block Mutan", "mutan", lambda o: own.Mutan(SIZES, DIM, mm_dim=o.hidden, rank=o.rank)
    )
    yield Rival(
        "block Block",
        "block",
        lambda o: own.Block(SIZES, DIM, mm_dim=o.chunks * o.size, chunks=o.chunks, rank=o.rank),
    )
    yield Rival(
        "block BlockTucker",
        "block-tucker",
        lambda o: own.BlockTucker(SIZES, DIM, mm_dim=o.chunks * o.size, chunks=o.chunks),
    )
