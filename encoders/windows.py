"""What VGGish and YAMNet share: a sound -> its examples; examples of many clips -> one vector each.

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
from encoders.openvino import runtime_of
from encoders.precision import dtype_of
from encoders.resample import resample
from encoders.transfer import to_device

# Examples: enough to be bound by arithmetic, not by reading the weights. OpenVINO has enough with half
# as many, and less is filled up for short lists.
BATCH = {"torch": 32, "openvino": 16}


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


class ExampleNetwork(nn.Module):
    """A network of examples as one of clips. Subclasses give `embeddings_of`.

    Inputs:
        examples: (E, 1, 96, 64) float32, on any device;
        owner: (E,) which clip each belongs to; without it one vector per example.
    """

    def embeddings_of(self, examples: Tensor) -> Tensor:
        """(E, 1, 96, 64) -> (E, D)."""
        raise NotImplementedError

    def forward(self, examples: Tensor, owner: Tensor | None = None) -> Tensor:
        """(E, D), or with `owner` the mean of each clip, (B, D)."""
        like = next(self.parameters())
        inputs = to_device(examples, like.device)
        inputs = inputs.to(dtype=like.dtype, memory_format=torch.channels_last)
        embeddings = self.embeddings_of(inputs)
        if owner is None:
            return embeddings
        owner = owner.to(like.device)
        counts = owner.bincount().to(like.dtype)
        sums = embeddings.new_zeros(len(counts), embeddings.shape[1]).index_add(
            0, owner, embeddings
        )
        return sums / counts[:, None]


def place(module: nn.Module, *, precision: str, device: str) -> nn.Module:
    """The network ready to encode: frozen, in its precision, on its device, channels last."""
    module.eval().requires_grad_(False)
    placed = module.to(device=device, dtype=dtype_of(precision))
    return placed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def example_tensors(clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Prepared clips -> the inputs of `ExampleNetwork`: all examples, and whose each one is."""
    counts = torch.tensor([len(clip) for clip in clips])
    return {
        "examples": torch.from_numpy(np.concatenate(clips)).unsqueeze(1),
        "owner": torch.arange(len(clips)).repeat_interleave(counts),
    }


def embed(
    module: nn.Module, clips: Sequence[np.ndarray | None], batch: int
) -> list[np.ndarray | None]:
    """(E_i, 96, 64) float32 each -> (E_i, D) float32 each, None where None was given.

    batch: a factor on the number of examples that are computed together.
    """
    held = [clip for clip in clips if clip is not None]
    if not held:
        return [None] * len(clips)
    examples = example_tensors(held)["examples"]
    rows = batch * BATCH[runtime_of(module)]
    # On a GPU all of them are on their way before the first is waited for.
    computed = [_run(module, part, rows) for part in examples.split(rows)]
    vectors = np.concatenate([output.cpu().numpy() for output in computed])
    parts = iter(np.split(vectors, np.cumsum([len(clip) for clip in held])[:-1]))
    return [None if clip is None else next(parts) for clip in clips]


def mean_of_examples(clips: Sequence[np.ndarray | None], dim: int) -> np.ndarray:
    """(E_i, D) each -> (B, D) float32, a zero row for None."""
    pooled = np.zeros((len(clips), dim), np.float32)
    for row, clip in zip(pooled, clips, strict=True):
        if clip is not None:
            row[:] = clip.mean(axis=0, dtype=np.float64)
    return pooled


@torch.inference_mode()
def _run(module: nn.Module, examples: Tensor, rows: int) -> Tensor:
    batch = torch.zeros(rows, *examples.shape[1:])
    batch[: len(examples)] = examples
    return module(examples=batch)[: len(examples)].float()
