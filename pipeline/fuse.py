"""Fusing stored features: one shard, one model, one vector per record."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save

import fusion
from encoders.base import Identity
from fusion.base import Fusion
from pipeline import files, schemas
from pipeline.config import RunConfig
from pipeline.models import inputs
from pipeline.store import PartFile

_ROWS = 4096  # records fused at a time


def identify(config: RunConfig, model: str, identities: Mapping[str, Identity]) -> Identity:
    """What vectors of a model that needs no training are comparable with."""
    dims = {name: identities[name].dim for name in inputs(config, model)}
    own = config.models[model]
    built = fusion.build(own.name, dims, **own.options)
    settings = {"inputs": {n: identities[n].digest for n in dims}, "options": own.options}
    return Identity(own.name, built.dim, "", settings)


def save_model(
    run: Path, config: RunConfig, model: str, identities: Mapping[str, Identity]
) -> None:
    """RUN/models/<model>/: config.json and model.safetensors."""
    own = config.models[model]
    dims = {name: identities[name].dim for name in inputs(config, model)}
    built = fusion.build(own.name, dims, **own.options)
    description = {
        "name": own.name,
        "dims": dims,
        "options": own.options,
        "identity": dataclasses.asdict(identities[model]),
    }
    folder = run / "models" / model
    files.publish(folder / "model.safetensors", save(built.state_dict()))
    files.publish(folder / "config.json", files.to_json(description))


def load_model(folder: Path) -> Fusion:
    """Build a saved model and load its weights."""
    description = files.read_json(folder / "config.json")
    model = fusion.build(description["name"], description["dims"], **description["options"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def fuse(run: Path, parts: Mapping[str, PartFile], model: Fusion) -> pa.Table:
    """Read the input parts of one shard and give its fused table."""
    tables = {name: pq.read_table(run / part.folder / part.name) for name, part in parts.items()}
    ids = next(iter(tables.values()))["record_id"]
    matrices = {name: schemas.matrix_of(table["vector"]) for name, table in tables.items()}
    blocks = [
        _forward(model, {n: (m[i : i + _ROWS], v[i : i + _ROWS]) for n, (m, v) in matrices.items()})
        for i in range(0, max(len(ids), 1), _ROWS)
    ]
    return _table(ids, blocks, model.dim)


def _forward(
    model: Fusion, batch: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, np.ndarray]:
    features = {name: torch.tensor(matrix) for name, (matrix, _) in batch.items()}
    present = {name: torch.tensor(valid) for name, (_, valid) in batch.items()}
    with torch.inference_mode():
        output = model(features, present)
    found = {
        "vector": output.vector,
        "weights": output.weights,
        "log_variance": output.log_variance,
    }
    return {name: tensor.float().numpy() for name, tensor in found.items() if tensor is not None}


def _table(ids: pa.ChunkedArray, blocks: Sequence[Mapping[str, np.ndarray]], dim: int) -> pa.Table:
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    weights = columns.get("weights")
    schema = schemas.fused(
        dim, None if weights is None else weights.shape[1], log_variance="log_variance" in columns
    )
    every = np.ones(len(ids), bool)
    arrays = [schemas.vectors_array(columns[name], every) for name in schema.names[1:]]
    return pa.table([ids.combine_chunks(), *arrays], schema=schema)
