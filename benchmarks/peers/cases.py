"""What is timed: their class and ours at the sizes of encoders, 2048 + 768 -> 512."""

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from benchmarks.peers.adapters import (
    Correlations,
    Named,
    Products,
    Separate,
    deep_set,
    mopoe_step,
    named,
    ours,
)
from benchmarks.peers.checkouts import Checkouts

BATCH, FULL, SMALL, OUT = 256, (2048, 768), (256, 96), 512


@dataclass(frozen=True)
class Case:
    """Two ways of one computation. sizes: of the features; target: what we aim at.

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


def cases(peers: Checkouts) -> Iterator[Case]:
    """Those whose peer is there; nn.Bilinear always."""
    small = 64
    yield Case(
        "bilinear", "torch nn.Bilinear", lambda: Separate(nn.Bilinear(*SMALL, small)),
        lambda: ours("bilinear", SMALL, dim=small), SMALL, "3x faster",
    )  # fmt: skip
    if (mmf := peers.mmf) is not None:
        yield Case(
            "compact-bilinear, 16384", "mmf MCB, dense sketch",
            lambda: mmf.MCB(FULL, OUT, mm_dim=16384),
            lambda: ours("compact-bilinear", FULL, dim=OUT, sketch=16384),
            target="3x faster, 64 KB of sketch",
        )  # fmt: skip
    if peers.torchmultimodal is not None:
        yield from _torchmultimodal(peers.torchmultimodal)
    if peers.block is not None:
        yield from _block(peers.block)
    if peers.multibench is not None:
        yield from _multibench(peers.multibench)
    if (mopoe := peers.mopoe) is not None:
        yield Case(
            "mopoe, 5 features", "MoPoE BaseMMVae.inference",
            lambda: mopoe_step(mopoe, BATCH), Products, (512,) * 10, "8x faster",
        )  # fmt: skip
    if (zoo := peers.cca_zoo) is not None:
        for dim in (64, 128):
            yield Case(f"dcca loss, {dim}", "cca_zoo CCALoss", lambda: zoo.CCALoss(1e-5),
                       Correlations, (dim, dim), "2x faster")  # fmt: skip


def _torchmultimodal(own: types.SimpleNamespace) -> Iterator[Case]:
    yield Case(
        "concat", "torchmultimodal ConcatFusionModule", lambda: Named(own.ConcatFusionModule()),
        lambda: ours("concat", FULL),
    )  # fmt: skip
    yield Case(
        "sum", "torchmultimodal ConcatFusionModule, projection",
        lambda: Named(own.ConcatFusionModule(nn.Linear(sum(FULL), OUT))),
        lambda: ours("sum", FULL, dim=OUT),
    )  # fmt: skip
    yield Case(
        "attention-sum", "torchmultimodal AttentionFusionModule",
        lambda: Named(own.AttentionFusionModule(named(FULL), OUT)),
        lambda: ours("attention-sum", FULL, dim=OUT),
    )  # fmt: skip
    yield Case(
        "deep-set, 512", "torchmultimodal DeepsetFusionModule", lambda: deep_set(own, FULL, OUT),
        lambda: ours("deep-set", FULL, dim=OUT, hidden=OUT),
    )  # fmt: skip


def _block(own: types.ModuleType) -> Iterator[Case]:
    sizes = list(FULL)
    yield Case(
        "block, 20 chunks of 80, rank 15", "block Block", lambda: own.Block(sizes, OUT),
        lambda: ours("block", FULL, dim=OUT, chunks=20, size=80, rank=15), target="1.5x faster",
    )  # fmt: skip
    yield Case(
        "block-tucker, 20 chunks of 80", "block BlockTucker", lambda: own.BlockTucker(sizes, OUT),
        lambda: ours("block-tucker", FULL, dim=OUT, chunks=20, size=80),
    )  # fmt: skip
    yield Case(
        "mutan, 400, rank 5", "block Mutan", lambda: own.Mutan(sizes, OUT, mm_dim=400, rank=5),
        lambda: ours("mutan", FULL, dim=OUT, hidden=400, rank=5),
    )  # fmt: skip
    yield Case(
        "tucker, 160", "block Tucker", lambda: own.Tucker(sizes, OUT, mm_dim=160),
        lambda: ours("tucker", FULL, dim=OUT, hidden=160),
    )  # fmt: skip
    yield Case(
        "mlb, 1200", "block MLB",
        lambda: own.MLB(sizes, OUT, mm_dim=1200, activ_input="tanh", activ_output=None),
        lambda: ours("mlb", FULL, dim=OUT, hidden=1200),
    )  # fmt: skip
    yield Case(
        "mfb, 512 of 5", "block MFB", lambda: own.MFB(sizes, OUT, mm_dim=OUT, factor=5),
        lambda: ours("mfb", FULL, dim=OUT, pool=5),
    )  # fmt: skip
    yield Case(
        "mfh, twice 256 of 5", "block MFH", lambda: own.MFH(sizes, OUT, mm_dim=OUT // 2, factor=5),
        lambda: ours("mfh", FULL, dim=OUT, order=2, pool=5),
    )  # fmt: skip


def _multibench(own: types.ModuleType) -> Iterator[Case]:
    def matrix(sizes: tuple[int, ...], out: int) -> nn.Module:
        return own.MultiplicativeInteractions2Modal(list(sizes), out, "matrix")

    yield Case(
        "lmf, rank 4", "MultiBench LowRankTensorFusion",
        lambda: own.LowRankTensorFusion(list(FULL), OUT, 4), lambda: ours("lmf", FULL, dim=OUT, rank=4),
    )  # fmt: skip
    yield Case(
        "multiplicative-matrix", "MultiBench MultiplicativeInteractions2Modal",
        lambda: matrix(SMALL, 64), lambda: ours("multiplicative-matrix", SMALL, dim=64), SMALL,
        "not slower",
    )  # fmt: skip
    yield Case(
        "multiplicative-matrix, full size", "MultiBench MultiplicativeInteractions2Modal",
        # Their intermediate (B, 768, 512) is the same whatever the first feature's length.
        lambda: matrix((64, FULL[1]), OUT), lambda: ours("multiplicative-matrix", FULL, dim=OUT),
        target="50 MB forward", timed=False, cut=64,
    )  # fmt: skip
    yield Case(
        "lmf, rank 4, instead of a full tensor", "MultiBench TensorFusion", own.TensorFusion,
        lambda: ours("lmf", FULL, dim=OUT, rank=4), target="10 MB forward", timed=False,
    )  # fmt: skip
