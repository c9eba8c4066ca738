"""Columns of a table as features: vectors that exist already, numbers, categories. No torch."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders.base import Identity
from encoders.media.errors import MediaError, Reason


@dataclass(frozen=True)
class VectorOptions:
    """dim: the length that every vector of the column has."""

    dim: int | None = None

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"as-is: expected a positive dim, got {self.dim}")


@dataclass(frozen=True)
class NumberOptions:
    """The value becomes (value - mean) / scale."""

    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not np.isfinite(self.mean):
            raise ValueError(f"number: expected a finite mean, got {self.mean}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"number: expected a positive scale, got {self.scale}")


@dataclass(frozen=True)
class CategoryOptions:
    """values: the categories, one place each, in this order; without them a value is hashed to one
    of `buckets` places."""

    buckets: int = 64
    values: tuple[str | int | float, ...] | None = None

    def __post_init__(self) -> None:
        if self.buckets < 1:
            raise ValueError(f"hashed-category: expected at least one bucket, got {self.buckets}")
        if self.values is not None:
            names = tuple(str(value) for value in self.values)
            if not names or len(set(names)) < len(names):
                raise ValueError(f"hashed-category: expected distinct values, got {list(names)}")
            object.__setattr__(self, "values", names)  # YAML gives a list, perhaps of numbers


class AsIs:
    """A vector column, checked and otherwise untouched: (dim,)."""

    Options = VectorOptions

    @classmethod
    def identify(cls, options: VectorOptions) -> Identity:
        """Raises ValueError where `dim` is not given: it fixes the schema before a row is read."""
        if options.dim is None:
            raise ValueError("as-is: give `dim`, the length of the vectors in the column")
        return Identity("as-is", options.dim, "", {})

    def __init__(
        self, options: VectorOptions, *, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.identity = self.identify(options)
        self.dim = self.identity.dim

    def prepare(self, items: Sequence[Sequence[float] | np.ndarray]) -> list[np.ndarray]:
        """(dim,) float32 each.

        Raises:
            MediaError: BAD_FORMAT for another length or no numbers, NON_FINITE for NaN or infinity.
        """
        return [self._checked(item) for item in items]

    def cost(self, item: np.ndarray) -> int:
        """One."""
        return 1

    def encode(self, batch: Sequence[np.ndarray | None]) -> np.ndarray:
        """(B, dim) float32."""
        vectors = np.zeros((len(batch), self.dim), np.float32)
        for row, vector in zip(vectors, batch, strict=True):
            if vector is not None:
                row[:] = vector
        return vectors

    def _checked(self, item: Sequence[float] | np.ndarray) -> np.ndarray:
        try:
            vector = np.asarray(item, np.float64)
        except (TypeError, ValueError) as err:
            raise MediaError(
                Reason.BAD_FORMAT, "the vector holds something else than numbers"
            ) from err
        if vector.shape != (self.dim,):
            raise MediaError(
                Reason.BAD_FORMAT,
                f"expected a vector of {self.dim} numbers, got shape {vector.shape}",
            )
        return _finite(vector, "the vector")


class Number:
    """One number per record, shifted and scaled: (1,)."""

    Options = NumberOptions

    @classmethod
    def identify(cls, options: NumberOptions) -> Identity:
        """Shift and scale."""
        return Identity("number", 1, "", {"mean": options.mean, "scale": options.scale})

    def __init__(
        self, options: NumberOptions, *, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.identity = self.identify(options)
        self.dim = 1
        self._options = options

    def prepare(self, items: Sequence[float]) -> list[float]:
        """The standardised values.

        Raises:
            MediaError: BAD_FORMAT for what is no number, NON_FINITE for NaN, infinity, or a value
                too large for float32.
        """
        return [self._standardised(item) for item in items]

    def cost(self, item: float) -> int:
        """One."""
        return 1

    def encode(self, batch: Sequence[float | None]) -> np.ndarray:
        """(B, 1) float32."""
        return np.array([[0.0 if value is None else value] for value in batch], np.float32).reshape(
            -1, 1
        )

    def _standardised(self, item: float) -> float:
        try:
            value = float(item)
        except (TypeError, ValueError) as err:
            raise MediaError(Reason.BAD_FORMAT, f"expected a number, got {item!r:.80}") from err
        scaled = (value - self._options.mean) / self._options.scale
        return float(_finite(np.array(scaled), "the number"))


class HashedCategory:
    """One of n values as a one-hot vector: (buckets,), or (len(values),) where these are given."""

    Options = CategoryOptions

    @classmethod
    def identify(cls, options: CategoryOptions) -> Identity:
        """The categories, or the number of buckets."""
        if options.values is None:
            return Identity("hashed-category", options.buckets, "", {"hash": "crc32"})
        values = list(options.values)
        return Identity("hashed-category", len(values), "", {"values": values})

    def __init__(
        self, options: CategoryOptions, *, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.identity = self.identify(options)
        self.dim = self.identity.dim
        self._places: dict[str, int] | None = None
        if options.values is not None:
            self._places = {str(value): place for place, value in enumerate(options.values)}

    def prepare(self, items: Sequence[str]) -> list[int]:
        """The place of each value.

        Raises:
            MediaError: BAD_FORMAT for a value that `values` does not list.
        """
        return [self._place(str(item)) for item in items]

    def cost(self, item: int) -> int:
        """One."""
        return 1

    def encode(self, batch: Sequence[int | None]) -> np.ndarray:
        """(B, dim) float32."""
        vectors = np.zeros((len(batch), self.dim), np.float32)
        for row, place in zip(vectors, batch, strict=True):
            if place is not None:
                row[place] = 1.0
        return vectors

    def _place(self, value: str) -> int:
        if self._places is None:
            return zlib.crc32(value.encode("utf-8", "surrogatepass")) % self.dim
        if value not in self._places:
            known = ", ".join(list(self._places)[:10])
            raise MediaError(Reason.BAD_FORMAT, f"unknown category {value!r:.80}; known: {known}")
        return self._places[value]


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # too large for float32 counts as infinite
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise MediaError(Reason.NON_FINITE, f"{what} holds NaN, infinity or a value beyond float32")
    return single
