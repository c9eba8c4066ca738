"""Layers are computed for the records that have a feature, not for the fillers of those that lack it.

All absent rows of a feature are the same zeros, so one row of zeros stands for them: half of the
records absent is half of the work. `Fusion.inputs` gives `Values`, `PerFeature` makes use of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Above this share of present rows, picking and placing them costs what it saves.
WORTH_IT = 0.85


@dataclass(frozen=True)
class Compact:
    """values: (N + 1, ...), the present rows of one feature, then a row of zeros for all others.

    rows: (N,), which of the B rows they are.
    """

    values: Tensor
    rows: Tensor
    batch: int

    def spread(self, computed: Tensor) -> Tensor:
        """What was computed from `values`, put where it belongs: (N + 1, ...) -> (B, ...)."""
        absent = computed[-1:].expand(self.batch, *computed.shape[1:])
        return absent.index_copy(0, self.rows, computed[:-1])


class Values(dict[str, Tensor]):
    """{feature: (B, ...)}, zero where absent, together with the presence they were made from.

    present[name]: (B,) bool, or (B, T) for a sequence, whose rows without any step are absent.
    """

    def __init__(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
        super().__init__(values)
        self._present = present
        self._compact: dict[str, Compact | None] = {}  # picked once, however many layers follow

    def compact(self, name: str) -> Compact | None:
        """The present rows of a feature; None where leaving the others out would not pay."""
        if name not in self._compact:
            self._compact[name] = _pick(self[name], self._present[name])
        return self._compact[name]


def apply(module: nn.Module, values: Mapping[str, Tensor], name: str) -> Tensor:
    """module(values[name]), computed for the present rows alone where `values` knows which these are.

    The module must treat every row apart.
    """
    compact = values.compact(name) if isinstance(values, Values) else None
    return compact.spread(module(compact.values)) if compact else module(values[name])


def only(present: Tensor, module: nn.Module, *values: Tensor) -> Tensor:
    """module(*values), computed for the present rows and zero elsewhere. present: (B,), values: (B, ...)"""
    if present.is_meta:
        return module(*values)
    rows = present.nonzero().squeeze(1)
    if len(rows) == len(present):
        return module(*values)
    computed = module(*(value[rows] for value in values))
    blank = computed.new_zeros((len(present), *computed.shape[1:]))
    return blank.index_copy(0, rows, computed)


def _pick(values: Tensor, present: Tensor) -> Compact | None:
    if present.is_meta:  # an outline of the cost: nothing is known about the rows
        return None
    there = present if present.dim() == 1 else present.any(dim=1)
    rows = there.nonzero().squeeze(1)
    if len(rows) > WORTH_IT * len(there):
        return None
    blank = values.new_zeros((1, *values.shape[1:]))
    return Compact(torch.cat([values[rows], blank]), rows, len(values))
