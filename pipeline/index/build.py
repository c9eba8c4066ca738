"""Building and auditing a FAISS index over one folder of vectors.

Ids are dense row numbers that stay with their record from one version to the next. Vectors stream in
part by part; only the index itself holds them all. Some are withheld as queries until the
cheapest search settings with recall@10 >= 0.99 are found, then added. With threads=1 the same parts
give the same bytes; several threads link an HNSW graph in another order each time.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from encoders.base import Identity
from pipeline import files, intact
from pipeline.errors import PolyfuseError
from pipeline.index import ladder, manifests, recall, shards
from pipeline.index.engine import METRICS, Engine
from pipeline.index.manifests import Manifest
from pipeline.index.opening import OpenIndex, open_index
from pipeline.index.rows import IdBinding, Rows, write_rows
from pipeline.index.vectors import PartVectors
from pipeline.store import Part, Snapshot

# Recall 0.99 is then known to within 0.002 (two standard errors), or 0.004 in clusters, and by the
# queries of a graph, which answers them quickly, to within half of that: the narrower, the less a
# search looks further than it must.
_QUERIES, _OF_GRAPH = 2000, 8000
_SEED = 0
# What codes are tried on: queries, vectors, candidates per result, and the recall that they must keep.
_FEW, _MANY, _CANDIDATES, _KEPT = 500, 20_000, 4, 0.999
# efConstruction. With 100 the same queries take a fifth longer on MNIST's pixels, and among a million
# clustered vectors a walk gets lost three times as often; building takes half the time.
_CONSTRUCTION = 200


def build_index(
    name: str,
    vectors: Sequence[Part],
    records: Sequence[Part],
    folder: Path,
    *,
    metric: str,
    memory: int,
    snapshot: Snapshot,
    identities: dict[str, dict[str, Any]],
    threads: int,
    helpers: shards.Helpers | None = None,
) -> Path:
    """Write the next version of an index and make it the current one.

    Args:
        name: of the feature or model.
        vectors: the parts of features/<name> or fused/<name>.
        records: the parts of records/, row for row the same records.
        folder: RUN/index/<name>.
        metric: cosine | ip | l2.
        memory: the most bytes the index may take.
        snapshot: which state of the run the parts are.
        identities: of everything the vectors were made with; for a model also its features'.
        threads: FAISS threads. 1 makes the bytes reproducible.
        helpers: workers on other machines; where the index has inverted lists, they fill them.

    Returns:
        The version's folder.

    Raises:
        PolyfuseError: the parts do not fit each other, or nothing fits the memory cap.
    """
    faiss.omp_set_num_threads(threads)
    _check_pairs(name, vectors, records)
    source = PartVectors(vectors, metric)
    version = manifests.next_version(folder)
    with contextlib.ExitStack() as undo:
        undo.callback(files.remove_tree, version)
        masks = _usable(source, records, _needs(name, identities))
        binding = IdBinding(_earlier_rows(folder))
        with files.replacing(version / "rows.parquet") as temporary:
            ids = write_rows(temporary, records, _split(masks, vectors), binding)
        built = _Build(source, np.flatnonzero(masks), ids, binding.next_id, memory)
        built.fill(helpers)
        with files.replacing(version / "index.faiss") as temporary:
            faiss.write_index(built.index, str(temporary))
        manifest = Manifest(
            name=name,
            type=built.rung.factory,
            metric=metric,
            dim=source.dim,
            counts={"rows": len(ids), "indexed": len(built.positions), "next_id": binding.next_id},
            snapshot={"version": snapshot.version, "digest": snapshot.digest},
            identities={one: Identity(**told) for one, told in identities.items()},
            search=dict(built.settings),
            recall=built.recall,
            memory={"cap": memory, "estimate": built.rung.bytes},
            files={file: _describe(version / file) for file in manifests.FILES},
            folder=vectors[0].path.parent.relative_to(snapshot.run).as_posix(),
            faiss=faiss.__version__,
        )
        manifests.publish(version, manifest)
        undo.pop_all()
    return version


def verify_index(run: Path, name: str) -> list[str]:
    """Audit the current version: digests, ids against rows, rows against records. Empty when sound."""
    place = f"index/{name}"
    try:
        return [f"{place}: {problem}" for problem in _audit(open_index(run, name, full=True))]
    except PolyfuseError as err:
        return [f"{place}: {err}"]


def _audit(opened: OpenIndex) -> Iterator[str]:
    rows = opened.rows
    if not np.array_equal(np.sort(opened.engine.ids), np.sort(rows.ids[rows.indexed])):
        yield "the ids in index.faiss are not those that rows.parquet gives"
    if len(np.unique(rows.ids)) != len(rows.ids):
        yield "an id occurs twice in rows.parquet"
    parts = opened.snapshot.parts("records")
    if any(not part.path.exists() for part in parts):
        yield "older than the run; build it with `polyfuse index CONFIG`"
        return
    start = 0
    for part in parts:
        expected = intact.read(part.path, ["record_id"])["record_id"].combine_chunks()
        if not rows.record_ids.slice(start, part.rows).equals(expected):
            yield f"rows.parquet differs from records/{part.path.name}"
        start += part.rows


@dataclass
class _Build:
    """The index while it grows. positions: (n,) the rows to index; ids: (N,) of every row."""

    source: PartVectors
    positions: np.ndarray
    ids: np.ndarray
    next_id: int
    memory: int

    def __post_init__(self) -> None:
        count, dim = len(self.positions), self.source.dim
        trainable = count - min(_OF_GRAPH, count // 20)
        fit = partial(ladder.choose, count, dim, self.memory, trainable=trainable)
        self.rung = fit()
        random = np.random.default_rng(_SEED)
        queries = min(_QUERIES if self.rung.lists else _OF_GRAPH, count // 20)
        self.held = np.sort(random.choice(self.positions, queries, replace=False))
        self.kept = np.setdiff1d(self.positions, self.held, assume_unique=True)
        sample = self._sample(random, self.rung.train)
        if self.rung.is_coded_graph and not self._codes_suffice(sample):
            self.rung, sample = fit(coded=False), sample[:0]
        self.index = _empty(self.rung, self.source.dim, self.source.metric)
        if len(sample):
            self.index.train(sample)

    def _sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """(count, D) of the vectors that are added."""
        return self.source.take(np.sort(random.choice(self.kept, count, replace=False)))

    def _codes_suffice(self, sample: np.ndarray) -> bool:
        """Whether 8-bit codes tell neighbours from others: they do not where a few large numbers
        stretch what a code spans."""
        metric = METRICS[self.source.metric]
        queries = self.source.take(self.held[:_FEW])
        exact = recall.ExactNeighbours(queries, recall.K, metric)
        codes = faiss.index_factory(self.source.dim, "SQ8,RFlat", metric)
        codes.train(sample)
        some = sample[:: max(1, len(sample) // _MANY)]
        exact.add(some)
        codes.add(some)
        params = faiss.IndexRefineSearchParameters(k_factor=_CANDIDATES)
        found, _ = codes.search(queries, recall.K, params=params)
        return exact.recall(recall.nearer_is_smaller(found, metric)).value >= _KEPT

    def fill(self, helpers: shards.Helpers | None) -> None:
        """Add every vector but the queries, measure, add the queries."""
        queries = self.source.take(self.held)
        metric = METRICS[self.source.metric]
        k = min(recall.K, len(self.kept))
        exact = recall.ExactNeighbours(queries, k, metric)
        wanted = np.zeros(len(self.source), bool)
        wanted[self.kept] = True
        share = shards.Share(self.source.parts, self.source.metric, wanted, self.ids)
        if helpers and self.rung.lists:
            shards.add_elsewhere(self.index, share, exact, helpers)
        else:
            shards.add(self.index, share, exact)
        self.settings, found = self._calibrate(exact)
        self.recall = {
            "k": recall.K,
            "value": found and found.value,
            "target": recall.TARGET,
            "queries": len(queries),
            "against": "exact search over the same rows, queries withheld, ties within "
            f"{recall.TOLERANCE:g}",
        }
        if len(self.held):
            self.index.add_with_ids(queries, self.ids[self.held])

    def _calibrate(
        self, exact: recall.ExactNeighbours
    ) -> tuple[Mapping[str, int], recall.Measured | None]:
        position = np.full(self.next_id, -1, np.int64)
        position[self.ids] = np.arange(len(self.ids))
        engine = Engine(
            self.index,
            self.source.metric,
            {},
            lambda ids: self.source.take(position[ids]),
            self.next_id,
        )

        def search(queries: np.ndarray, k: int, settings: Mapping[str, int]) -> np.ndarray:
            scores, _ = engine.search(queries, k, settings=settings)
            return scores**2 if self.source.metric == "l2" else -scores

        settings, found = recall.calibrate(search, exact, _steps(self.rung, search, exact))
        if found is None or not settings:
            return settings, found
        return recall.tighten(search, exact, (settings, found), _effort(self.rung))


def _effort(rung: ladder.Rung) -> str:
    """The setting that says how far a search looks."""
    return "nprobe" if rung.lists else "efSearch"


def _steps(
    rung: ladder.Rung, search: recall.Search, exact: recall.ExactNeighbours
) -> Iterator[Mapping[str, int]]:
    """Search settings to try, cheapest first."""
    if rung.factory == "Flat":
        yield {}
        return
    name, first, last = _effort(rung), *((0, rung.lists.bit_length()) if rung.lists else (4, 12))
    efforts = [{name: 2**power} for power in range(first, last)]
    rerank = {}
    if rung.lossy:  # how many candidates suffice is known from looking into every list, or far
        far, factors = (rung.lists, (4, 10, 40)) if rung.lists else (512, (2, 4, 10))
        tried = [{name: far, "rerank": factor} for factor in factors]
        rerank = {"rerank": recall.calibrate(search, exact, tried)[0]["rerank"]}
    yield from (effort | rerank for effort in efforts)


def _empty(rung: ladder.Rung, dim: int, metric: str) -> Any:
    """The untrained index; HNSW and Flat take no ids of their own."""
    if rung.lists:
        index = faiss.index_factory(dim, rung.factory, METRICS[metric])
        if isinstance(index, faiss.IndexIVFPQ):
            index.use_precomputed_table = -1  # it may exceed the index many times over
            index.do_polysemous_training = False  # most of the time, for a search we never make
        return index
    inner = faiss.index_factory(dim, rung.factory, METRICS[metric])
    graph = faiss.downcast_index(inner.base_index) if rung.is_coded_graph else inner
    if isinstance(graph, faiss.IndexHNSW):
        graph.hnsw.efConstruction = _CONSTRUCTION
    index = faiss.IndexIDMap(inner)
    index.own_fields = True
    inner.this.disown()
    return index


def _check_pairs(name: str, vectors: Sequence[Part], records: Sequence[Part]) -> None:
    if [(p.number, p.rows) for p in vectors] != [(p.number, p.rows) for p in records]:
        raise PolyfuseError(
            f"index {name}: its {len(vectors)} parts are not row for row those of records/ "
            f"({len(records)} parts): finish with `polyfuse run CONFIG`"
        )


def _needs(name: str, identities: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The features a model's vectors come from; none where that can't be told from the identities."""
    inputs = [other for other in identities if other != name]
    return [] if any("inputs" in identities[other]["settings"] for other in inputs) else inputs


def _usable(source: PartVectors, records: Sequence[Part], needs: Sequence[str]) -> np.ndarray:
    """(N,) bool: rows that can be found. A record that has nothing has no neighbours either, even
    where its model gives it a vector."""
    masks = []
    for part, (_, _, usable) in zip(records, source.blocks(), strict=True):
        present = intact.read(part.path, ["present"])["present"].to_pylist()
        some = [not set(needs).isdisjoint(has) if needs else bool(has) for has in present]
        masks.append(usable & np.array(some, bool))
    return np.concatenate(masks)


def _split(mask: np.ndarray, parts: Sequence[Part]) -> list[np.ndarray]:
    return np.split(mask, np.cumsum([part.rows for part in parts])[:-1])


def _earlier_rows(folder: Path) -> Rows | None:
    """Who has which id so far. A damaged version binds nobody: the ids start anew."""
    try:
        version = manifests.current(folder)
        if version is None:
            return None
        manifest = manifests.read_manifest(version)
        manifests.check_files(version, manifest)
    except PolyfuseError:
        return None
    return Rows(files.local(version / "rows.parquet"), manifest.counts["next_id"])


def _describe(path: Path) -> manifests.File:
    return {"sha256": files.sha256_of(path), "bytes": path.stat().st_size}
