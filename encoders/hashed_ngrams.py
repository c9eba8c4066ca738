"""A classical text descriptor: hashed word and character n-grams. No torch, no vocabulary.

Words and pairs of words, and runs of 3 to 5 characters inside a word (its two ends marked), each
hashed to a place and a sign (Weinberger et al. 2009, "Feature hashing for large scale multitask
learning"), counted as 1 + ln(count), scaled to length 1. The baseline that a learned encoder must
beat: it sees spelling, not meaning.
"""

import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.base import Identity
from encoders.media.errors import MediaError, Reason

_WORD = re.compile(r"\w+|[^\w\s]")
_WORD_NGRAMS = (1, 2)
_CHARACTER_NGRAMS = (3, 4, 5)


@dataclass(frozen=True)
class HashedNgramsOptions:
    """dim: the length of the vector; fewer places, more n-grams that share one."""

    dim: int = 1024

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"hashed-ngrams: expected a positive dim, got {self.dim}")


class HashedNgrams:
    """Text -> (dim,), of length 1."""

    Options = HashedNgramsOptions

    @classmethod
    def identify(cls, options: HashedNgramsOptions) -> Identity:
        """The descriptor's version and length."""
        return Identity("hashed-ngrams", options.dim, "", {"version": 1})

    def __init__(
        self, options: HashedNgramsOptions, *, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.identity = self.identify(options)
        self.dim = options.dim

    def prepare(self, items: Sequence[str]) -> list[list[str]]:
        """The words of each text, in lower case and in one form of Unicode (NFKC).

        Raises:
            MediaError: EMPTY for a text without a word or sign.
        """
        return [_words(item) for item in items]

    def cost(self, item: list[str]) -> int:
        """Words."""
        return len(item)

    def encode(self, batch: Sequence[list[str] | None]) -> np.ndarray:
        """(B, dim) float32."""
        vectors = np.zeros((len(batch), self.dim), np.float32)
        for row, words in zip(vectors, batch, strict=True):
            if words is not None:
                self._fill(row, words)
        return vectors

    def _fill(self, row: np.ndarray, words: list[str]) -> None:
        for ngram, count in Counter(_ngrams(words)).items():
            code = zlib.crc32(ngram.encode("utf-8", "surrogatepass"))  # hash() differs by process
            row[(code >> 1) % self.dim] += (1 if code & 1 else -1) * (1 + math.log(count))
        row /= max(float(np.linalg.norm(row)), 1e-12)


def _words(text: str) -> list[str]:
    words = _WORD.findall(unicodedata.normalize("NFKC", text).lower())
    if not words:
        raise MediaError(Reason.EMPTY, "the text is empty or only white space")
    return words


def _ngrams(words: list[str]) -> Iterator[str]:
    """Every n-gram with a prefix of its family, so that a word and a run of characters differ."""
    for length in _WORD_NGRAMS:
        for start in range(len(words) - length + 1):
            yield f"w{' '.join(words[start : start + length])}"
    for word in words:
        marked = f" {word} "
        for length in _CHARACTER_NGRAMS:
            for start in range(len(marked) - length + 1):
                yield f"c{marked[start : start + length]}"
