"""Presence, checked and applied in one place for every operator.

B records, T steps of a sequence, D dimensions. A missing modality reaches an operator as zeros and a
False in its mask, whatever the caller's rows held, NaN included.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def masked(
    dims: Mapping[str, int],
    features: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    *,
    sequences: bool = False,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Check a batch and zero its absent rows.

    Args:
        dims: the length of each feature the operator was built for.
        features: features[name] is (B, D_name), or (B, T, D_name) for a sequence.
        present: present[name] is (B,) bool, or (B, T) for a sequence.
        sequences: leave sequences as they are, and make every other feature one of a single step.

    Returns:
        For every name of `dims`, sorted: (B, D_name), zero where absent, and (B,) bool; a sequence is
        the mean of its present steps. With `sequences`: (B, T_name, D_name) and (B, T_name). A name
        missing from either mapping is absent in every row.

    Raises:
        ValueError: an unknown name, a wrong shape or type, or nothing to tell B from.
    """
    for name in {*features, *present} - set(dims):
        raise ValueError(f"unknown feature {name!r}; this fusion takes {', '.join(sorted(dims))}")
    given = [*features.values(), *present.values()]
    if not given:
        raise ValueError(f"no feature given; this fusion takes {', '.join(sorted(dims))}")
    sizes = {len(tensor) for tensor in given}
    if len(sizes) > 1:
        raise ValueError(
            f"features and presence disagree on the number of records: {sorted(sizes)}"
        )
    like = next(iter(features.values()), torch.zeros(0, device=given[0].device))
    batch = sizes.pop()
    values, masks = {}, {}
    for name in sorted(dims):
        if name in features and name in present:
            _check(name, dims[name], features[name], present[name])
            feature, mask = features[name], present[name]
        else:
            feature = like.new_zeros((batch, dims[name]))
            mask = torch.zeros(batch, dtype=torch.bool, device=like.device)
        values[name], masks[name] = _steps(feature, mask) if sequences else _zeroed(feature, mask)
    return values, masks


def where_present(mask: Tensor, values: Tensor, filler: float = 0) -> Tensor:
    """The values, and the filler in absent rows. mask: (B, ...), values: (B, ..., D) -> (B, ..., D)

    A whole batch is passed on without a copy: on the CPU, elsewhere asking costs more than the copy, and
    on the meta device, where costs are those of whole batches.
    """
    if mask.is_cpu or mask.is_meta:
        whole = mask.all()
        if whole.is_meta or bool(whole):
            return values
    return torch.where(mask[..., None], values, filler)


def any_step(mask: Tensor) -> Tensor:
    """Which records have the feature at all: (B,) as it is, (B, T) where any step is there. -> (B,)"""
    return mask if mask.dim() == 1 else mask.any(dim=1)


def stacked(tensors: Mapping[str, Tensor]) -> Tensor:
    """One tensor per feature, (B, ...) each -> (B, M, ...), features by name."""
    return torch.stack([tensors[name] for name in sorted(tensors)], dim=1)


def masked_sum(values: Tensor, present: Tensor) -> Tensor:
    """The sum over the present features; zero where there is none. (B, M, D), (B, M) -> (B, D)"""
    return where_present(present, values).sum(dim=1)


def anything(present: Mapping[str, Tensor]) -> Tensor:
    """Which records have any feature at all. present[name]: (B,) or (B, T) -> (B,)"""
    return torch.stack([any_step(mask) for mask in present.values()]).any(dim=0)


def masked_mean(values: Tensor, present: Tensor) -> Tensor:
    """The mean over the present features; zero where there is none. (B, M, D), (B, M) -> (B, D)"""
    return masked_sum(values, present) / present.sum(dim=1, keepdim=True).clamp_min(1)


def masked_softmax(logits: Tensor, present: Tensor) -> Tensor:
    """Softmax over the present features; all zero where there is none. (B, M), (B, M) -> (B, M)

    Never -inf: a row without any feature would give 0/0 in the backward pass.
    """
    low = torch.where(present, logits, torch.finfo(logits.dtype).min)
    return torch.where(present, torch.softmax(low, dim=1), 0)


def unit(vectors: Tensor, length: float = 1.0) -> Tensor:
    """Each row scaled to this length; a zero row stays zero, and nothing overflows. (B, D) -> (B, D)

    Dividing by the largest entry first makes the length at least 1 for any row but zero, so that no
    epsilon bends small vectors. It cancels out: nothing is lost without its gradient.
    """
    if vectors.shape[-1] == 0:
        return vectors
    peak = vectors.detach().abs().amax(dim=-1, keepdim=True)
    scaled = vectors / torch.where(peak > 0, peak, 1)
    norm = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True).clamp_min(1)
    return scaled * (length / norm)


def _check(name: str, dim: int, feature: Tensor, mask: Tensor) -> None:
    if feature.dim() not in (2, 3) or feature.shape[-1] != dim:
        raise ValueError(f"feature {name!r}: expected (B, {dim}), got {tuple(feature.shape)}")
    if mask.dtype != torch.bool or mask.shape != feature.shape[:-1]:
        raise ValueError(
            f"present[{name!r}]: expected bool of shape {tuple(feature.shape[:-1])}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )


def _steps(feature: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    if feature.dim() == 2:
        feature, mask = feature[:, None], mask[:, None]  # (B, D) -> (B, 1, D)
    return where_present(mask, feature), mask


def _zeroed(feature: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    clean = where_present(mask, feature)
    if feature.dim() == 2:
        return clean, mask
    steps = mask.sum(dim=1, keepdim=True).clamp_min(1)  # (B, 1)
    return clean.sum(dim=1) / steps, mask.any(dim=1)  # (B, T, D) -> (B, D)
