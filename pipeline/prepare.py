"""One row -> what the encoders of a modality read: fetched, decoded and prepared, or why it is not."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from encoders.base import Prepared, Preparing
from encoders.media.errors import MediaError, Reason
from pipeline.config import RunConfig
from pipeline.isolate import ENDINGS, Disposable, InActor
from pipeline.load import Loader
from pipeline.sources import Row, Source
from pipeline.stopwatch import Stopwatch


@dataclass(frozen=True)
class Lost:
    """An item that can't be used. stage: what was done with it then; attempts: isolated tries of it."""

    stage: str
    error: MediaError
    attempts: int = 0


Found = list[Prepared] | Lost  # of one feature: its items (the frames of a video), none if absent


class Preparer:
    """encoders: of the modality's features, by name.

    watch: learns what took how long.
    """

    def __init__(
        self,
        source: Source,
        config: RunConfig,
        modality: str,
        encoders: Mapping[str, Preparing],
        decoder: InActor | Disposable,
        watch: Stopwatch | None = None,
    ) -> None:
        streams = {feature.name: feature.stream for feature in config.features(modality)}
        self._encoders = {name: (streams[name], encoder) for name, encoder in encoders.items()}
        self._watch = watch or Stopwatch("read")
        self._loader = Loader(
            source, config, modality, decoder, dict(self._encoders.values()), self._watch
        )

    def each(self, rows: Iterable[Row]) -> Iterator[tuple[str, Mapping[str, Found]]]:
        """For every row its uri, for errors/, and what there is in it."""
        for row in rows:
            yield self._loader.uri(row), self(row)

    def __call__(self, row: Row) -> dict[str, Found]:
        """{feature: what there is of it}."""
        streams: dict[str, list[Any] | MediaError]
        try:
            streams = self._loader.load(row)
        except MediaError as error:
            streams = dict.fromkeys((stream for stream, _ in self._encoders.values()), error)
        stage = self._watch.step
        return {
            name: self._prepared(encoder, streams.get(stream, []), stage)
            for name, (stream, encoder) in self._encoders.items()
        }

    def _prepared(self, encoder: Preparing, items: "list[Any] | MediaError", stage: str) -> Found:
        if isinstance(items, MediaError):
            ended = items.reason in ENDINGS
            return Lost(stage, items, self._loader.decoder.attempts if ended else 0)
        if not items:
            return []
        self._watch.to("prepare")
        try:
            return list(encoder.prepare(items))
        except MediaError as error:
            return Lost("encode", error)
        except Exception as err:  # a processor's own exception must not cost the shard
            return Lost("encode", MediaError(Reason.MODEL_ERROR, f"{type(err).__name__}: {err}"))
