"""The records of a comparison: the stored vectors of all features, with labels, in memory."""

from collections.abc import Iterator

from fusion.batch import Batch
from fusion.trial import Parts
from pipeline import files
from pipeline.config import RunConfig
from pipeline.errors import ConfigError, PolyfuseError
from pipeline.fit.data import Data, ShardParts
from pipeline.fit.feed import StoredFeed
from pipeline.store import Part, PartFile, Snapshot


def find(config: RunConfig) -> Data:
    """What is compared on: every shard of the run's newest snapshot, rows with a label.

    Raises:
        ConfigError: the configuration names no label.
        PolyfuseError: a feature has no vectors yet.
    """
    if config.label is None:
        raise ConfigError(
            "compare: fusions are compared by how well they predict a label, and there is none; "
            "add label: {column: ...}, or --set label.column=..."
        )
    run = files.at(config.output)
    names = config.compare.inputs or tuple(feature.name for feature in config.features())
    snapshot = Snapshot.latest(run)
    folders = ["records", "split", *(f"features/{name}" for name in names)]
    found = {folder: {p.number: p for p in snapshot.parts(folder)} for folder in folders}
    numbers = sorted(found["records"])
    for folder in folders:
        if sorted(found[folder]) != numbers:
            raise PolyfuseError(f"{folder} is not complete: finish `polyfuse extract` first")
    shards = tuple(
        ShardParts(
            {name: _file(f"features/{name}", found[f"features/{name}"][n]) for name in names},
            _file("records", found["records"][n]),
            _file("split", found["split"][n]),
        )
        for n in numbers
    )
    data = Data(run, shards, names)
    return Data(run, shards, names, labels=data.settle_labels(config.label))


def load(data: Data, most: int) -> Parts:
    """At most so many records of each part of the split, in memory.

    Raises:
        PolyfuseError: a part has none.
    """
    feed = StoredFeed(data)
    for part, rows in feed.rows.items():
        if not rows:
            raise PolyfuseError(
                f"no labelled record in the {part} part: a comparison needs all three; look at "
                "split (test: 0.2, valid: 0.1) and label"
            )
    train = feed.training(0, min(most, feed.rows["train"]))
    return Parts(next(train), _first(feed.validation(most)), _first(feed.test(most)))


def _first(batches: Iterator[Batch]) -> Batch:
    return next(iter(batches))


def _file(folder: str, part: Part) -> PartFile:
    return PartFile(folder, part.path.name, part.rows, part.sha256, part.bytes)
