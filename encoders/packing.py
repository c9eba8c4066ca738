"""Several texts side by side in one row of a model, none of which sees another.

Outside of attention, what a transformer computes for a token depends on that token alone. So texts
of any lengths share rows of one fixed length, positions start again with each, and attention stays
within a text: sequence packing (Krell et al. 2021, arXiv:2107.02027). Hardly anything is padding, and
the shape that a text is computed in depends neither on its neighbours nor on how many there are.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.batching import PackedBatch

# Architectures (`model_type`) that know a token's place from `position_ids` alone, and that hand what
# they are called with down to their attention. Others measure the distance of tokens in a row.
ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "albert")
_ATTENTION = "polyfuse-packed"  # its name among transformers' implementations

Span = tuple[int, int, int]  # row, start and stop of a text


def fits(config: Any) -> bool:
    """Whether a model of this configuration can be asked by `hidden`."""
    return config.model_type in ARCHITECTURES and not getattr(config, "is_decoder", False)


def allow(model: Any) -> None:
    """Let a model that `fits`, on a CPU, be asked by `hidden`; it can be called directly as before."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_ATTENTION, _attend)
    AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
    model.set_attn_implementation(_ATTENTION)


def lay_out(
    texts: Iterable[np.ndarray], part: PackedBatch, *, padding: int, first: int
) -> dict[str, Tensor]:
    """The inputs of `hidden` for one batch.

    texts: their token ids, in the order of part.members; padding: the id that fills a row up; first:
    the position of a text's first token.
    """
    ids = np.full((len(part.filled), part.length), padding, np.int64)
    places, segment = np.full_like(ids, first), np.full_like(ids, -1)
    left = iter(texts)
    for row, examples in enumerate(part.filled):
        stop = 0
        for number, _ in enumerate(examples):
            tokens = next(left)
            start, stop = stop, stop + len(tokens)
            ids[row, start:stop] = tokens
            places[row, start:stop] += np.arange(len(tokens))
            segment[row, start:stop] = number
    inputs = {"input_ids": ids, "position_ids": places, "segment": segment}
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def hidden(model: nn.Module, segment: Tensor, **inputs: Tensor) -> Tensor:
    """(R, T) inputs -> (R, T, D) float32 hidden states of each token.

    segment: (R, T) the number of the text in its row that a token belongs to; -1 for none.
    """
    if torch.jit.is_tracing():  # a trace can't go from text to text: a mask keeps them apart
        same = segment[:, None, :, None] == segment[:, None, None, :]  # (R, 1, T, T)
        mask = torch.where(same, 0.0, torch.finfo(torch.float32).min)
        return model(**inputs, attention_mask=mask).last_hidden_state.float()
    return model(**inputs, segments=spans(segment)).last_hidden_state.float()


def spans(segment: Tensor) -> list[Span]:
    """Where each text lies, in the order of part.members."""
    found = []
    for row, numbers in enumerate(segment.numpy()):
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        found += [
            (row, start, stop) for start, stop in itertools.pairwise(edges) if numbers[start] >= 0
        ]
    return found


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: list[Span] | None = None,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Each text by itself, as long as it is: (R, H, T, D) each -> (R, T, H, D)."""
    if segments is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **settings
        )
    attended = torch.zeros_like(value.transpose(1, 2), memory_format=torch.contiguous_format)
    for row, start, stop in segments:
        own = (slice(row, row + 1), slice(None), slice(start, stop))
        found = nn.functional.scaled_dot_product_attention(
            query[own], key[own], value[own], scale=scaling
        )
        attended[row : row + 1, start:stop] = found.transpose(1, 2)
    return attended, None
