"""Work that is begun before its turn: so many pieces at once, taken in their order."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(pieces: Iterable[T], most: int) -> Iterator[T]:
    """The pieces as they are; at most `most` of them are begun, by being drawn, and not yet taken."""
    begun: deque[T] = deque()
    for piece in pieces:
        begun.append(piece)
        if len(begun) >= most:
            yield begun.popleft()
    while begun:
        yield begun.popleft()
