"""Fusing stored features: one shard, one model, one vector per record."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save
from torch import Tensor

import fusion
from encoders.base import Identity
from fusion.base import Fusion
from pipeline import files, intact, schemas
from pipeline.config import RunConfig
from pipeline.errors import ConfigError
from pipeline.models import WEIGHTS, Record, inputs
from pipeline.store import PartFile
from pipeline.vectors import rows_of, tensors

_ROWS, _ROWS_OF_SEQUENCES = 4096, 256  # records fused at a time


def identify(config: RunConfig, model: str, identities: Mapping[str, Identity]) -> Identity:
    """What vectors of a model that needs no training are comparable with.

    Raises:
        ConfigError: its options do not fit its inputs.
    """
    dims = {name: identities[name].dim for name in inputs(config, model)}
    own = config.models[model]
    try:
        built = fusion.build(own.name, dims, **own.options)
    except ValueError as err:  # options that do not fit the features
        raise ConfigError(f"models.{model}: {err}") from err
    return Identity(own.name, built.dim, "", identity_settings(own.options, dims, identities))


def identity_settings(
    options: Mapping[str, Any], names: Iterable[str], identities: Mapping[str, Identity]
) -> dict[str, Any]:
    """The part of a model's identity that its weights do not say."""
    return {"inputs": {name: identities[name].digest for name in names}, "options": dict(options)}


def save_model(
    run: Path, config: RunConfig, model: str, identities: Mapping[str, Identity]
) -> None:
    """RUN/models/<model>/ of a model that needs no training: config.json and model.safetensors."""
    own = config.models[model]
    dims = {name: identities[name].dim for name in inputs(config, model)}
    weights = save(fusion.build(own.name, dims, **own.options).state_dict())
    files.publish(run / "models" / model / WEIGHTS, weights)
    digests = {WEIGHTS: hashlib.sha256(weights).hexdigest()}
    Record(own.name, dims, own.options, identities[model], digests, inputs=tuple(dims)).write(
        run, model
    )


def load_model(folder: Path) -> Fusion:
    """Build a saved model and load its weights.

    Raises:
        PolyfuseError: a file of it is missing or damaged.
    """
    record = Record.known(folder)
    model = fusion.build(record.name, record.dims, **record.options)
    model.load_state_dict(record.weights(folder, WEIGHTS))
    return model.eval()


def fuse(run: Path, parts: Mapping[str, PartFile], model: Fusion) -> pa.Table:
    """Read the input parts of one shard and give its fused table."""
    ids, batches = read_inputs(run, parts, model)
    return _table(ids, [_forward(model, *batch) for batch in batches], model.dim)


def read_inputs(
    run: Path, parts: Mapping[str, PartFile], model: Fusion
) -> tuple[pa.ChunkedArray, Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]]:
    """The record ids of one shard, and its features and presence in batches; one at least, if empty."""
    tables = {
        name: intact.read(run / part.folder / part.name, rows=part.rows)
        for name, part in parts.items()
    }
    ids = next(iter(tables.values()))["record_id"]
    sequences = model.takes_sequences
    columns = {n: rows_of(table["vector"], sequences=sequences) for n, table in tables.items()}
    step = _ROWS_OF_SEQUENCES if sequences else _ROWS

    def batches() -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        for i in range(0, max(len(ids), 1), step):
            given = {n: tensors(x[i : i + step], v[i : i + step]) for n, (x, v) in columns.items()}
            yield (
                {n: values for n, (values, _) in given.items()},
                {n: mask for n, (_, mask) in given.items()},
            )

    return ids, batches()


def _forward(
    model: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> dict[str, np.ndarray]:
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
