"""Which FAISS index fits: the best rung of a ladder under a memory cap.

Best first: exact scan for few vectors, then HNSW graphs while they fit, then inverted lists with whole,
8-bit and product-quantised vectors. The best graph compares 8-bit codes on its way, a quarter of
what whole vectors are to read, and keeps the whole ones beside them for its candidates. The rungs
follow criteo/autofaiss; every rung has the training points FAISS asks for by construction, so its
warning about too few can't occur.
"""

from dataclasses import dataclass

from pipeline.errors import PolyfuseError

_FEW = 10_000  # vectors below which a graph is never paid back
_POINTS_PER_CENTROID = 39  # FAISS warns below this many training points per centroid ...
_ENOUGH_PER_CENTROID = 64  # ... and gains little above this many
_PQ_CENTROIDS = 256
_PQ_TRAIN = _POINTS_PER_CENTROID * _PQ_CENTROIDS
_SQ_TRAIN = 100_000  # vectors whose least and greatest numbers an 8-bit code spans
_WORTH_CODES = 256  # numbers in a vector, below which whole ones are compared as quickly
_ID = 8
_LINKS = (
    24,
    16,
    8,
)  # of a graph's vectors: at recall 0.99, 32 is slower, on pixels and on embeddings


@dataclass(frozen=True)
class Rung:
    """One index type for n vectors.

    factory: the FAISS factory string; bytes: estimated size in memory; train: vectors to train on;
    lists: inverted lists, 0 where there are none; lossy: whether codes are compared on the way, and
    candidates once more by their true vectors.
    """

    factory: str
    bytes: int
    train: int = 0
    lists: int = 0
    lossy: bool = False

    @property
    def is_coded_graph(self) -> bool:
        """Whether it is a graph of codes: quick, but of some vectors 8 bits tell too little."""
        return self.lossy and not self.lists


def choose(count: int, dim: int, memory: int, *, trainable: int, coded: bool = True) -> Rung:
    """The best index for `count` vectors of length `dim` within `memory` bytes.

    trainable: how many of the vectors may be trained on; coded: also graphs of codes.

    Raises:
        PolyfuseError: nothing fits; the message says the least that would.
    """
    rungs = ladder(count, dim, memory, trainable=trainable)
    for rung in rungs:
        if rung.bytes <= memory and (coded or not rung.is_coded_graph):
            return rung
    least = min(rungs, key=lambda rung: rung.bytes)
    raise PolyfuseError(
        f"index.memory is {memory} bytes, but {count} vectors of length {dim} need at least "
        f"{least.bytes} ({least.factory}): raise index.memory"
    )


def ladder(count: int, dim: int, memory: int, *, trainable: int) -> list[Rung]:
    """Every type worth considering, best first."""
    flat = Rung("Flat", count * (4 * dim + _ID))
    if trainable < _POINTS_PER_CENTROID:
        return [flat]
    lists = _lists(trainable, dim, memory)
    quantised = [("SQ8", dim, _POINTS_PER_CENTROID)]
    quantised += [
        (f"PQ{codes}", codes, _PQ_TRAIN)
        for codes in (dim // 2, dim // 4, dim // 8, dim // 16)
        if codes and dim % codes == 0 and trainable >= _PQ_TRAIN
    ]

    def inverted(codec: str, code_bytes: int, codec_train: int) -> Rung:
        return Rung(
            f"IVF{lists},{codec}",
            count * (code_bytes + _ID)
            + 4 * dim * (lists + (_PQ_CENTROIDS if codec.startswith("PQ") else 0)),
            min(trainable, max(_ENOUGH_PER_CENTROID * lists, codec_train)),
            lists,
            lossy=codec != "Flat",
        )

    small = [inverted(*codec) for codec in quantised]
    if count < _FEW:
        return [flat, *small]
    graphs = [Rung(f"HNSW{m}", count * (4 * dim + _graph_bytes(m))) for m in _LINKS]
    sample = min(trainable, _SQ_TRAIN)
    coded = Rung(f"HNSW{_LINKS[0]}_SQ8,RFlat", graphs[0].bytes + count * dim, sample, lossy=True)
    graphs = [coded, *graphs] if dim >= _WORTH_CODES else graphs
    return [*graphs, inverted("Flat", 4 * dim, 0), *small]


def _graph_bytes(links: int) -> int:
    """2M links of 4 bytes at the base, M per level above (1/M of the vectors each), bookkeeping, id."""
    upper = 4 * links / (links - 1)
    return int(4 * 2 * links + upper) + 1 + 4 + 8 + _ID


def _lists(count: int, dim: int, memory: int) -> int:
    """A power of two that the vectors at hand, and a sample within the memory cap, can train."""
    if count < 1_000_000:
        wanted = int(4 * count**0.5)
    elif count < 10_000_000:
        wanted = 16_384
    else:
        wanted = 65_536 if count < 300_000_000 else 131_072
    sample = min(count, memory // (4 * dim))
    trainable = min(wanted, sample // _POINTS_PER_CENTROID)
    return 1 << max(0, trainable.bit_length() - 1)
