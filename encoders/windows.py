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
from encoders.precision import dtype_of
from encoders.resample import resample
from encoders.transfer import to_device

# Examples per batch of convolutions: with more of them their maps leave the cache.
BATCH = 16
# Per batch of what follows: dense layers of many weights, which take longer to read than few rows to
# be multiplied with them (VGGish on AMX: 0.25 ms an example, 0.9 in batches of 16).
DENSE_BATCH = 128


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
    return mel.examples(mel.log_mel(samples, offset=offset, rfft=_rfft), hop)


class ExampleNetwork(nn.Module):
    """A network of examples as one of clips. Subclasses give `maps_of` and, where dense layers
    follow, `embeddings_of`.

    Inputs, all of them on any device:
        examples: (E, 1, 96, 64) float32, with
            owner: (E,) which clip each belongs to, to get one vector per clip; or
        spectrograms: (E, 1, 96, 64) float32, to get the maps alone; or
        maps: (E, M), to get what the rest makes of them.
    """

    def maps_of(self, examples: Tensor) -> Tensor:
        """(E, 1, 96, 64) -> (E, M)."""
        raise NotImplementedError

    def embeddings_of(self, maps: Tensor) -> Tensor:
        """(E, M) -> (E, D)."""
        return maps

    def forward(
        self,
        examples: Tensor | None = None,
        owner: Tensor | None = None,
        spectrograms: Tensor | None = None,
        maps: Tensor | None = None,
    ) -> Tensor:
        """(E, D) embeddings, or with `owner` the mean of each clip, (B, D); (E, M) of spectrograms."""
        like = next(self.parameters())
        if maps is None:
            given = examples if spectrograms is None else spectrograms
            if given is None:
                raise TypeError("expected examples, spectrograms or maps, got none of them")
            inputs = to_device(given, like.device)
            maps = self.maps_of(inputs.to(dtype=like.dtype, memory_format=torch.channels_last))
        if spectrograms is not None:
            return maps
        embeddings = self.embeddings_of(to_device(maps, like.device).to(like.dtype))
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
    module: nn.Module, clips: Sequence[np.ndarray | None], batch: int, *, dense: bool = False
) -> list[np.ndarray | None]:
    """(E_i, 96, 64) float32 each -> (E_i, D) float32 each, None where None was given.

    batch: a factor on the number of examples that are computed together; dense: whether the network
    has layers after its maps.
    """
    held = [clip for clip in clips if clip is not None]
    if not held:
        return [None] * len(clips)
    examples = example_tensors(held)["examples"]
    # On a GPU all of them are on their way before the first is waited for.
    computed = [
        _embeddings(module, part, batch, dense) for part in examples.split(batch * DENSE_BATCH)
    ]
    vectors = np.concatenate([output.float().cpu().numpy() for output in computed])
    parts = iter(np.split(vectors, np.cumsum([len(clip) for clip in held])[:-1]))
    return [None if clip is None else next(parts) for clip in clips]


def mean_of_examples(clips: Sequence[np.ndarray | None], dim: int) -> np.ndarray:
    """(E_i, D) each -> (B, D) float32, a zero row for None."""
    pooled = np.zeros((len(clips), dim), np.float32)
    for row, clip in zip(pooled, clips, strict=True):
        if clip is not None:
            row[:] = clip.mean(axis=0, dtype=np.float64)
    return pooled


def _rfft(frames: np.ndarray) -> np.ndarray:
    """Several times as fast as numpy's."""
    return torch.fft.rfft(torch.from_numpy(frames)).numpy()


@torch.inference_mode()
def _embeddings(module: nn.Module, examples: Tensor, batch: int, dense: bool) -> Tensor:
    """(E, 1, 96, 64) -> (E, D), at most `batch * DENSE_BATCH` examples."""
    rows = batch * BATCH
    maps = torch.cat(
        [module(spectrograms=_filled(part, rows))[: len(part)] for part in examples.split(rows)]
    )
    if not dense:
        return maps
    return module(maps=_filled(maps, batch * DENSE_BATCH))[: len(maps)]


def _filled(rows: Tensor, count: int) -> Tensor:
    """`count` rows, the last of them zeros."""
    if len(rows) == count:
        return rows
    return torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])
