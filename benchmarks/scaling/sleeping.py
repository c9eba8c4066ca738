"""An encoder that waits as long as a network would compute: many workers then fit on few cores."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders.base import Identity

DIM = 8


@dataclass(frozen=True)
class Options:
    """seconds: that each text takes."""

    seconds: float = 0.03


class Sleeping:
    """Texts -> (B, 8) ones."""

    Options = Options

    def __init__(self, options: Options, *, precision: str = "fp32", device: str = "cpu") -> None:
        self.identity = self.identify(options)
        self.dim = DIM
        self._seconds = options.seconds

    @classmethod
    def identify(cls, options: Options) -> Identity:
        return Identity("sleeping", DIM, "", {"seconds": options.seconds})

    def prepare(self, items: Sequence[str]) -> list[str]:
        return list(items)

    def cost(self, item: str) -> int:
        return 1

    def encode(self, batch: Sequence[str | None]) -> np.ndarray:
        time.sleep(self._seconds * len(batch))
        return np.ones((len(batch), DIM), np.float32)
