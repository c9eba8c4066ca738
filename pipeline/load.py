"""One cell of a row -> the decoded items that its modality's encoders take."""

from collections.abc import Callable, Mapping
from typing import Any

from encoders.base import Preparing
from encoders.media.errors import MediaError, Reason
from pipeline.cells import CONVERT, is_absent
from pipeline.config import ModalityConfig, RunConfig
from pipeline.isolate import Disposable, InActor
from pipeline.redact import redacted
from pipeline.sources import Member, Row, Source
from pipeline.sources.locations import fetch
from pipeline.stopwatch import Stopwatch

MEDIA = ("image", "audio", "video")
# Reasons that a second look at one track of the same bytes can't change.
_HOPELESS = (
    Reason.TOO_LARGE,
    Reason.EMPTY,
    Reason.BAD_FORMAT,
    Reason.CRASH,
    Reason.TIMEOUT,
    Reason.OOM,
)


class Loader:
    """A row's cell -> the decoded items of each stream; None where the cell is empty.

    encoders: those of the modality that the items are for, by stream.
    """

    def __init__(
        self,
        source: Source,
        config: RunConfig,
        modality: str,
        decoder: InActor | Disposable,
        encoders: Mapping[str, Preparing],
        watch: Stopwatch | None = None,
    ) -> None:
        self.source = source
        self.config = config
        self.modality: ModalityConfig = config.modalities[modality]
        self.column = config.column(modality)
        self.decoder = decoder
        self.least_side = least_side(encoders)
        self.watch = watch or Stopwatch("read")

    def uri(self, row: Row) -> str:
        """Where the medium came from, for errors/; empty when the bytes were in the table."""
        cell = row.cells.get(self.column)
        if isinstance(cell, Member):
            return cell.name
        return redacted(cell) if isinstance(cell, str) and self.modality.kind in MEDIA else ""

    def load(self, row: Row) -> dict[str, "list[Any] | MediaError"]:
        """{stream: decoded items, or why there are none}; empty where the cell is.

        Raises:
            MediaError: nothing of it can be used; `watch.step` then says where.
        """
        self.watch.to("read")
        if row.problem:
            raise MediaError(Reason.BAD_ROW, row.problem)
        cell: Any = row.cells.get(self.column)
        if is_absent(cell):
            return {}
        kind = self.modality.kind
        if kind in MEDIA or isinstance(cell, Member):
            self.watch.to("fetch")
            cell = fetch(cell, self.source.root, self.config.media_limits, self.config.allow)
        self.watch.to("decode")
        if kind not in MEDIA:
            return {"self": [CONVERT[kind](cell)]}
        if kind == "video":
            return self._video(cell)
        return {"self": [self.decoder.decode(cell, kind, None, False, self.least_side)]}

    def _video(self, raw: bytes) -> dict[str, "list[Any] | MediaError"]:
        policy, sound = self.modality.frame_policy, bool(self.modality.sound)
        try:
            video = self.decoder.decode(raw, "video", policy, sound)
            return {"frames": list(video.frames), "sound": _present(video.sound)}
        except MediaError as error:
            if not sound or error.reason in _HOPELESS:
                raise
        # One decode serves both; when it fails, a broken sound track must not cost the pictures.
        return {
            "frames": self._part(
                lambda: list(self.decoder.decode(raw, "video", policy, False).frames)
            ),
            "sound": self._part(
                lambda: _present(self.decoder.decode(raw, "video", None, True).sound)
            ),
        }

    def _part(self, decode: Callable[[], list[Any]]) -> "list[Any] | MediaError":
        try:
            return decode()
        except MediaError as error:
            return error


def least_side(encoders: Mapping[str, Preparing]) -> int | None:
    """How small pictures may be decoded for the encoders of one modality, given by stream."""
    seeing = next((encoders[stream] for stream in ("self", "frames") if stream in encoders), None)
    return seeing.identity.least_side if seeing else None


def _present(item: Any) -> list[Any]:
    return [] if item is None else [item]
