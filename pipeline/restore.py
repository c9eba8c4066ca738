"""Restoring: missing vectors filled in by a model that was trained to decode them, shard by shard.

What is restored lies apart from what was measured: RUN/restored/<model>/<feature>/ has a vector only
where the feature has none, so that nobody takes the one for the other, or both, by accident.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusion import objectives
from fusion.objectives.decoding import Decoding
from fusion.restore import restore
from pipeline import intact, schemas
from pipeline.errors import PolyfuseError
from pipeline.fuse import load_model, read_inputs
from pipeline.models import OBJECTIVE, Record
from pipeline.saved import SavedRun
from pipeline.store import PartFile, Snapshot


def check(run: Path, saved: SavedRun, model: str) -> Record:
    """The record of a model that can restore, with all its files in place.

    Raises:
        PolyfuseError: there is no such model, it is not trained, or it was not trained to decode.
    """
    config = saved.config
    if model not in config.models:
        raise PolyfuseError(
            f"{run} has no model {model!r}; there are: {', '.join(config.models) or 'none'}"
        )
    record = Record.read(run, model) if model in saved.identities else None
    if record is None:
        raise PolyfuseError(
            f"{model} is not trained as the configuration asks: `polyfuse fit CONFIG` trains it"
        )
    able = record.objective and issubclass(objectives.target(record.objective["name"]), Decoding)
    if not able:
        trained = (
            f"was trained to {record.objective['name']}" if record.objective else "is not learned"
        )
        raise PolyfuseError(
            f"{model} ({record.name}) can't restore: it {trained}, so it has no decoders. A model with "
            "objective reconstruct or elbo can: autoencoder, vae, poe, or most others by default"
        )
    if not set(record.inputs) & {feature.name for feature in config.features()}:
        raise PolyfuseError(
            f"{model} can't restore: it takes only vectors of other models, which are never missing"
        )
    damaged = record.damaged(run / "models" / model)
    if damaged:
        raise PolyfuseError(
            f"{model}: {', '.join(damaged)} in {run / 'models' / model} is not what was written; "
            "`polyfuse fit CONFIG --again` trains it anew"
        )
    return record


class Restorer:
    """A trained model and its decoders.

    folder: RUN/models/<model>. features: those that are restored, of what the model takes.
    """

    def __init__(self, folder: Path, features: Sequence[str]) -> None:
        record = Record.known(folder)
        assert record.objective is not None, "the driver has looked"
        self.model = load_model(folder)
        self.objective = objectives.build(
            record.objective["name"], self.model, **record.objective["options"]
        )
        self.objective.load_state_dict(record.weights(folder, OBJECTIVE))
        self.features = [name for name in self.model.dims if name in set(features)]

    def restore(self, run: Path, parts: Mapping[str, PartFile]) -> dict[str, pa.Table]:
        """Read the input parts of one shard and give a table per feature."""
        ids, batches = read_inputs(run, parts, self.model)
        found = [restore(self.model, self.objective, *batch) for batch in batches]
        known = np.concatenate([part.known.numpy() for part in found])
        tables = {}
        for name in self.features:
            vectors = np.concatenate([part.vectors[name].numpy() for part in found])
            measured = np.concatenate([part.measured[name].numpy() for part in found])
            restored = known & ~measured
            columns = [
                ids.combine_chunks(),
                schemas.vectors_array(vectors, restored),
                pa.array(restored),
            ]
            schema = schemas.restored(self.model.dims[name])
            tables[name] = pa.table(columns, schema=schema)
        return tables


def count(run: Path, model: str) -> dict[str, int]:
    """How many vectors of each feature the model has restored."""
    snapshot = Snapshot.latest(run)
    top = f"restored/{model}/"
    return {
        folder.removeprefix(top): sum(
            pc.sum(intact.read(part.path, ["restored"])["restored"]).as_py() or 0
            for part in snapshot.parts(folder)
        )
        for folder in snapshot.folders()
        if folder.startswith(top)
    }
