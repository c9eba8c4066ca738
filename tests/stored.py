"""Small runs written straight to disk, without Ray: for tests of index, search, export."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from corpus import picture

import encoders
import fusion
from encoders.media import Limits, decode
from pipeline import schemas
from pipeline.config import RunConfig
from pipeline.fuse import identify
from pipeline.index.build import build_index
from pipeline.index.jobs import wanted
from pipeline.index.shards import Helpers
from pipeline.saved import SavedRun, Setting, identify_feature
from pipeline.store import Snapshot, publish_snapshot, write_part

MEDIA = {
    "image": {"kind": "image", "encoder": {"name": "pixels", "size": 4}},
    "text": {"kind": "text", "encoder": {"name": "hashed-ngrams"}},
}


def write_run(
    run: Path,
    features: dict[str, np.ndarray],
    metadata: dict[str, list] | None = None,
    *,
    shard: int = 4096,
    sequences: dict[str, list] | None = None,
    concat: bool = False,
    weights: dict[str, float] | None = None,
    ids: list[str] | None = None,
    models: dict[str, np.ndarray] | None = None,
) -> Snapshot:
    """records/, features/ and, where wanted, fused/concat/ of a run, and its snapshot.

    features: (N, D) each; a row with NaN in it is absent. models: the fused vectors of others.
    """
    sequences = sequences or {}
    count = len(next(iter([*features.values(), *sequences.values()])))
    ids = ids or [f"r{i:06d}" for i in range(count)]
    metadata = metadata or {}
    valid = {name: np.isfinite(matrix).all(axis=1) for name, matrix in features.items()}
    valid |= {name: np.array([s is not None for s in rows]) for name, rows in sequences.items()}
    if concat:
        models = (models or {}) | {"concat": fused(features, valid, weights or {})}
    folders = {f"features/{name}": (matrix, valid[name]) for name, matrix in features.items()}
    for name, matrix in (models or {}).items():
        folders[f"fused/{name}"] = matrix, np.ones(count, bool)
    parts = []
    for number, start in enumerate(range(0, count, shard)):
        rows = slice(start, min(count, start + shard))
        record_ids = pa.array(ids[rows], pa.string())
        present = [[n for n in sorted(valid) if valid[n][i]] for i in range(rows.start, rows.stop)]
        columns = {
            "record_id": record_ids,
            "outcome": pa.array(["ok"] * len(present)),
            "present": pa.array(present, pa.list_(pa.string())),
        } | {name: pa.array(values[rows]) for name, values in metadata.items()}
        parts.append((number, write_part(run, "records", number, pa.table(columns))))
        for folder, (matrix, mask) in folders.items():
            vectors = schemas.vectors_array(matrix[rows], mask[rows])
            table = pa.table({"record_id": record_ids, "vector": vectors})
            parts.append((number, write_part(run, folder, number, table)))
        for name, lists in sequences.items():
            dim = next(len(s[0]) for s in lists if s is not None)
            table = pa.table(
                {"record_id": record_ids, "vector": schemas.sequences_array(lists[rows], dim)}
            )
            parts.append((number, write_part(run, f"features/{name}", number, table)))
    return publish_snapshot(run, parts, {"records": count})


def fused(
    features: dict[str, np.ndarray], valid: dict[str, np.ndarray], weights: dict[str, float]
) -> np.ndarray:
    """What the concat model gives."""
    model = fusion.build("concat", {n: m.shape[1] for n, m in features.items()}, weights=weights)
    tensors = {n: torch.from_numpy(m.astype(np.float32)) for n, m in features.items()}
    present = {n: torch.from_numpy(valid[n]) for n in features}
    return model(tensors, present).vector.numpy()


def index(
    snapshot: Snapshot,
    name: str,
    *,
    metric: str = "cosine",
    memory: int = 10**9,
    identities: dict | None = None,
    helpers: Helpers | None = None,
) -> Path:
    """Build RUN/index/<name>, one thread."""
    folder = "fused/concat" if name == "concat" else f"features/{name}"
    return build_index(
        name,
        snapshot.parts(folder),
        snapshot.parts("records"),
        snapshot.run / "index" / name,
        metric=metric,
        memory=memory,
        snapshot=snapshot,
        identities=identities or {name: {"encoder": "x", "dim": 1, "weights": "", "settings": {}}},
        threads=1,
        helpers=helpers,
    )


def save_config(
    run: Path, modalities: dict, *, weights: dict | None = None, **settings
) -> SavedRun:
    """RUN/config.yaml with the identities of real encoders and of the concat model."""
    own = {"name": "concat", **({"weights": weights} if weights else {})}
    config = RunConfig.model_validate(
        {
            "source": {"path": "x.csv"},
            "modalities": modalities,
            "output": str(run),
            "models": {"concat": own},
            **settings,
        }
    )
    identities = {feature.name: identify_feature(feature) for feature in config.features()}
    identities["concat"] = identify(config, "concat", identities)
    saved = SavedRun(config, identities, {name: Setting() for name in identities}, {})
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(saved.to_yaml())
    return saved


def index_all(snapshot: Snapshot, saved: SavedRun, **options) -> None:
    """An index for every feature, and one for concat."""
    for job in wanted(saved):
        build_index(
            job.name,
            snapshot.parts(job.folder),
            snapshot.parts("records"),
            snapshot.run / "index" / job.name,
            metric=options.get("metric", job.metric) if job.name != "concat" else "ip",
            memory=options.get("memory", 10**9),
            snapshot=snapshot,
            identities=job.identities,
            threads=1,
        )


def write_media(run: Path) -> tuple[list[bytes], list[str]]:
    """A run of sixty pictures and texts through real encoders, indexed; every fourth has no text."""
    rng = np.random.default_rng(0)
    pictures = [picture(rng) for _ in range(60)]
    colours = ["red", "green", "blue", "grey", "black"]
    texts = [f"a {colours[i % 5]} thing called {i}" for i in range(60)]
    saved = save_config(run, MEDIA)
    items = {"image": [decode(raw, "image", Limits()) for raw in pictures], "text": texts}
    features = {}
    for feature in saved.config.features():
        encoder = encoders.build(feature.encoder)
        features[feature.name] = encoder.encode(encoder.prepare(items[feature.name])).astype("f4")
    features["text"][::4] = np.nan
    index_all(write_run(run, features, {"n": list(range(60))}, concat=True), saved)
    return pictures, texts
