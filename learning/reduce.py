"""What has a closed form is one pass over the data: empty, update, merge, finish.

The state is a dictionary of tensors, so that several workers reduce their own rows and merge.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from torch import Tensor

from learning import parallel

State = dict[str, Tensor]


class Reduction(Protocol):
    """A statistic of all rows; `finish` installs what it found where it is used."""

    def empty(self) -> State:
        """The state of no rows at all."""

    def update(self, state: State, batch: Any) -> State:
        """The state with the rows of one more batch."""

    def merge(self, one: State, other: State) -> State:
        """The state of the rows of both."""

    def finish(self, state: State) -> None:
        """Use the statistic."""


def reduce(reduction: Reduction, batches: Iterable[Any]) -> None:
    """Reduce the batches of every worker; all of them finish with the same state."""
    state = reduction.empty()
    for batch in batches:
        state = reduction.update(state, batch)
    merged, *others = parallel.gather(state)
    for other in others:
        merged = reduction.merge(merged, other)
    reduction.finish(merged)
