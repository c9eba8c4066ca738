"""Modality dropout: hide present features at random, never all of a record's (Neverova et al., 2016)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fusion.presence import any_step


def drop(present: Mapping[str, Tensor], rate: float) -> dict[str, Tensor]:
    """Each present feature is hidden with probability `rate`; where all would be, one chosen evenly stays.

    present[name]: (B,) bool, or (B, T) for a sequence, which is hidden whole. The same generator
    state gives the same choice whatever the order of the mapping.
    """
    names = sorted(present)
    there = torch.stack([any_step(present[name]) for name in names], dim=1)  # (B, M)
    chance = torch.rand(there.shape, device=there.device).masked_fill(~there, -1.0)
    kept = chance >= rate
    # The largest draw survives: an even choice among the present features.
    last = torch.zeros_like(kept).scatter_(1, chance.argmax(dim=1, keepdim=True), True)
    kept = torch.where(kept.any(dim=1, keepdim=True), kept, last) & there
    return {
        name: present[name] & (kept[:, i] if present[name].dim() == 1 else kept[:, i, None])
        for i, name in enumerate(names)
    }
