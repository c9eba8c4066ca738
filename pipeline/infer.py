"""What a configuration may leave open and the source answers: the length of its vector columns.

The schema is fixed before a row is computed, so the first vector of a column speaks for all; one of
another length is then that record's error.
"""

from encoders.media.errors import MediaError
from pipeline.cells import is_absent, to_vector
from pipeline.config import ComponentConfig, RunConfig
from pipeline.errors import ConfigError
from pipeline.plan import growing
from pipeline.sources.base import Known, Shard, Source

_ROWS, _BYTES = 4096, 64_000_000  # read at a time, until there is a vector


def with_dims(config: RunConfig, source: Source) -> RunConfig:
    """The configuration with `dim` in the encoder of every modality of kind vector.

    Raises:
        ConfigError: a column holds no vector at all.
    """
    modalities = dict(config.modalities)
    for feature in config.features():
        if feature.encoder.kind != "vector" or feature.encoder.options.get("dim") is not None:
            continue
        column = config.column(feature.modality)
        dim = _first_length(source, column)
        if not dim:
            raise ConfigError(
                f"modalities.{feature.modality}: column {column!r} of {config.source.path} holds no "
                "vector whose length could be taken; expected lists of numbers (in a CSV as JSON: "
                "[0.1, 0.2]), or give encoder: {name: as-is, dim: N}"
            )
        options = {**feature.encoder.options, "dim": dim}
        encoder = ComponentConfig(name=feature.encoder.name, **options)
        modality = modalities[feature.modality]
        modalities[feature.modality] = modality.model_copy(update={"encoder": encoder})
    return config.model_copy(update={"modalities": modalities})


def _first_length(source: Source, column: str) -> int | None:
    for piece in source.scan(source.files(), Known(), growing(_ROWS, _BYTES)):
        if piece.catalogue is not None:
            return None  # folders and tars hold media, not vectors
        shard = Shard(
            0,
            0,
            piece.file,
            piece.start,
            piece.rows,
            piece.offset,
            piece.length,
            piece.fingerprint,
        )
        for row in source.read(shard, [column]):
            cell = row.cells.get(column)
            try:
                if not is_absent(cell):
                    return len(to_vector(cell))
            except MediaError:
                continue  # that record's error, when its turn comes
    return None
