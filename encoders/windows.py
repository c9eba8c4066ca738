"""What VGGish and YAMNet share: a sound -> its examples; examples of many clips -> network -> clips.

Examples of all clips are pooled in order into batches of one fixed shape, the last one filled up
with zeros. Fixed, because a network's low bits depend on the shape of its batch (measured: 1 to 8
examples give other bits than 32) and not on the other rows in it: so a failed neighbour, a retry of
one clip, and another grouping of the clips all give the same bytes.

Letters in shapes: E examples of 96 frames x 64 bands, B clips, D dimensions.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from encoders import mel
from encoders.media.types import Waveform
from encoders.resample import resample

BATCH = 32  # examples: enough to be bound by arithmetic, not by reading the weights
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def waveform_examples(
    sound: Waveform, *, offset: float, hop: int, pad_tail: bool = False
) -> np.ndarray:
    """The log-mel examples of a sound: (E, 96, 64) float32, E >= 1, `hop` frames apart.

    A sound shorter than one example is padded with zeros to one. What follows the last whole
    example is left out, or with `pad_tail` filled up with zeros.

    Raises:
        MediaError: EMPTY, NON_FINITE, or UNSUPPORTED for a rate no recording has.
    """
    samples = resample(mel.usable(sound), sound.rate, mel.RATE)
    step = hop * mel.HOP_SAMPLES
    beyond = max(0, len(samples) - mel.EXAMPLE_SAMPLES)
    whole = mel.EXAMPLE_SAMPLES + (-(-beyond // step) * step if pad_tail else 0)
    if len(samples) < whole:
        samples = np.pad(samples, (0, whole - len(samples)))
    return mel.examples(mel.log_mel(samples, offset=offset), hop)


def place(module: nn.Module, *, precision: str, device: str) -> nn.Module:
    """The network ready to encode: frozen, in its precision, on its device, channels last."""
    if precision not in _DTYPES:
        raise ValueError(f"expected precision {' | '.join(_DTYPES)}, got {precision!r}")
    module.eval().requires_grad_(False)
    return module.to(device=device, dtype=_DTYPES[precision], memory_format=torch.channels_last)


def embed(module: nn.Module, clips: Sequence[Tensor | None]) -> list[np.ndarray | None]:
    """(E_i, 1, 96, 64) float32 each -> (E_i, D) float32 each, None where None was given."""
    counts = [0 if clip is None else len(clip) for clip in clips]
    examples = [example for clip in clips if clip is not None for example in clip]
    rows = [_run(module, examples[at : at + BATCH]) for at in range(0, len(examples), BATCH)]
    ends = np.cumsum(counts)
    flat = np.concatenate(rows) if rows else None
    return [
        None if clip is None or flat is None else flat[end - count : end]
        for clip, count, end in zip(clips, counts, ends, strict=True)
    ]


def mean_of_examples(clips: Sequence[np.ndarray | None], dim: int) -> np.ndarray:
    """(E_i, D) each -> (B, D) float32, a zero row for None."""
    pooled = np.zeros((len(clips), dim), np.float32)
    for row, clip in zip(pooled, clips, strict=True):
        if clip is not None:
            row[:] = clip.mean(axis=0, dtype=np.float64)
    return pooled


@torch.inference_mode()
def _run(module: nn.Module, examples: list[Tensor]) -> np.ndarray:
    like = next(module.parameters())
    batch = torch.zeros(BATCH, *examples[0].shape)
    batch[: len(examples)] = torch.stack(examples)
    batch = batch.to(like.device, like.dtype, memory_format=torch.channels_last)
    return module(batch)[: len(examples)].float().cpu().numpy()
