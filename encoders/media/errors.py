"""Why a medium could not be read: one exception, one closed list of reasons."""

from enum import StrEnum


class Reason(StrEnum):
    """The closed list of reasons that `errors/` may hold (docs/formats.md explains each)."""

    NOT_FOUND = "NOT_FOUND"
    FETCH_ERROR = "FETCH_ERROR"
    REFUSED = "REFUSED"
    TOO_LARGE = "TOO_LARGE"
    BOMB = "BOMB"
    UNSUPPORTED = "UNSUPPORTED"
    BAD_FORMAT = "BAD_FORMAT"
    BAD_ROW = "BAD_ROW"
    DECODE_ERROR = "DECODE_ERROR"
    EMPTY = "EMPTY"
    TIMEOUT = "TIMEOUT"
    CRASH = "CRASH"
    OOM = "OOM"
    MODEL_ERROR = "MODEL_ERROR"
    NON_FINITE = "NON_FINITE"


class MediaError(Exception):
    """One medium is unusable. It costs that one vector, never the job.

    The message is for a person and for `errors/`: no address, pid, temporary path or timing in it,
    so that the same input gives the same bytes.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)  # both in args, so that it pickles
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"
