"""Any Hugging Face audio encoder (AST, wav2vec 2.0, HuBERT, CLAP, Whisper): sound -> vector.

A sound is resampled to the model's rate and cut into windows of `window` seconds, one after the
other; the last may be shorter. Models with an input length of their own get it padded by their
feature extractor. Models that read raw samples (wav2vec 2.0, HuBERT) get every window as long as
it is, one per model batch: padding would change their normalisation over time, and ten seconds
are 500 frames, enough to keep a core busy. The windows' vectors are averaged, weighted by their
durations, so a short tail counts little.

Pooling: `pooler` the model's own pooled output (AST, CLAP), the default where there is one; `mean`
and `max` over frames; `cls` where there is a class token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import backbone, batching, checkpoint, pieces, pooling
from encoders.base import Identity
from encoders.media.errors import MediaError, Reason
from encoders.media.types import Waveform
from encoders.pieces import Piece, Pieces
from encoders.resample import resample
from encoders.transfer import to_device

_ROWS = 4  # full windows per model batch: each has hundreds of frames
_SECONDS = 10.0  # window of models without a length of their own
_LEAST = 0.025  # seconds: one frame of every front end


class TransformersAudio:
    """Waveforms -> (B, D) by the model in `options.model`."""

    batch = 1

    @dataclass(frozen=True)
    class Options:
        """model: a hub id or a local folder; revision: branch, tag or commit, for a hub id;
        pooling: cls | mean | max | pooler, by default what suits the model; window: seconds, by
        default and at most the model's own input length, 10 where it has none."""

        model: str = field(metadata={"location": True})
        revision: str | None = None
        pooling: str | None = None
        window: float | None = None

        def __post_init__(self) -> None:
            pooling.check(self.pooling)
            if self.window is not None and self.window < 0.1:
                raise ValueError(f"expected a window of at least 0.1 seconds, got {self.window}")

    def __init__(self, options: Options, *, precision: str = "fp32", device: str = "cpu") -> None:
        self._plan = _Plan.read(options)
        plan = self._plan
        self.identity = plan.identity()
        self.dim = self.identity.dim
        self.module = backbone.build(
            plan.folder, "audio", plan.outline,
            pooling=plan.pooling, precision=precision, device=device,
        )  # fmt: skip
        model = self.module.model
        self._frames: Any = getattr(model, "_get_feat_extract_output_lengths", None)
        if plan.front.raw and self._frames is None:
            raise ValueError(f"{type(model).__name__} does not say how many frames it makes")
        self._device = device

    @classmethod
    def identify(cls, options: Options) -> Identity:
        """What vectors of these options are comparable with; loads no weights into a model."""
        return _Plan.read(options).identity()

    def prepare(self, items: Sequence[Waveform]) -> list[Pieces]:
        """-> what the model reads of each window.

        Raises:
            MediaError: EMPTY, no samples; NON_FINITE, a sample that is no number.
        """
        return [self._windows(item) for item in items]

    def _windows(self, item: Waveform) -> Pieces:
        if len(item.samples) == 0:
            raise MediaError(Reason.EMPTY, "the sound has no samples")
        if not np.isfinite(item.samples).all():
            raise MediaError(Reason.NON_FINITE, "the sound has samples that are no finite numbers")
        front = self._plan.front
        samples = resample(item.samples, item.rate, front.rate)
        starts = range(0, len(samples), front.window)
        cut = [samples[start : start + front.window] for start in starts]
        return tuple(Piece(front(window), float(len(window))) for window in cut)

    def cost(self, item: Pieces) -> int:
        """Windows."""
        return len(item)

    def tensors(self, batch: Sequence[Pieces]) -> dict[str, torch.Tensor]:
        """Prepared sounds -> what `module` takes to give (B, D).

        Raw samples are padded to the longest, and the padding's frames left out of the pooling. A
        model trained without an attention mask notices the padding, which `encode` avoids.
        """
        return pieces.tensors(batch, self._inputs, self._device)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Pieces | None]) -> np.ndarray:
        """(B, D) float32; a zero row for None."""
        front = self._plan.front
        budget = 1 if front.raw else self.batch * _ROWS * front.shape[0]
        plan = partial(batching.token_batches, budget=budget, items=len(batch))
        return pieces.encode(batch, self.dim, plan, self._run).numpy()

    def _run(self, members: list[Piece], part: batching.TokenBatch) -> torch.Tensor:
        return self.module(**self._inputs(members, part.rows, part.length))

    def _inputs(self, parts: list[Piece], rows: int, length: int) -> dict[str, torch.Tensor]:
        """The model's inputs in `rows` rows; raw samples padded with zeros to `length`."""
        front = self._plan.front
        values = torch.zeros(rows, length, *front.shape[1:])
        real = torch.full((rows,), length)
        for row, piece in enumerate(parts):
            real[row] = len(piece.values)
            values[row, : real[row]] = torch.tensor(piece.values)
        inputs = front.inputs(values, real)
        if front.raw:
            inputs["count"] = self._frames(real).clamp(min=1)
        return {name: to_device(value, self._device) for name, value in inputs.items()}


class FrontEnd:
    """The feature extractor in a model's folder, applied to one window at a time.

    name: of the model's input; rate: samples per second; window: samples; raw: the model reads
    samples, as many as there are, not features of one `shape`; fused: a CLAP that also takes a
    shrunken view of long sounds.

    Raises:
        ValueError: the folder has none, or `seconds` is more than the model takes.
    """

    def __init__(self, folder: Path, config: Any, seconds: float | None) -> None:
        from transformers import AutoFeatureExtractor

        with checkpoint.quiet():
            try:
                extractor: Any = AutoFeatureExtractor.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
                self.rate = int(extractor.sampling_rate)
            except Exception as err:  # transformers raises many types for a bad folder
                raise ValueError(
                    f"model {folder.name}: no usable preprocessor_config.json; it says how "
                    "sound is turned into features and comes with the model"
                ) from err
        self._extractor = extractor
        self.name = extractor.model_input_names[0]
        most = _most(extractor)
        if seconds and most and seconds * self.rate > most:
            raise ValueError(f"window {seconds}: this model takes at most {most / self.rate} s")
        self.window = round(seconds * self.rate) if seconds else most or int(_SECONDS * self.rate)
        self.shape = self(np.zeros(self.window, np.float32)).shape
        self.raw = len(self.shape) == 1
        self._masked = self.raw and bool(extractor.return_attention_mask)
        self.fused = bool(getattr(getattr(config, "audio_config", None), "enable_fusion", False))

    def __call__(self, window: np.ndarray) -> np.ndarray:
        """(N,) samples, N <= `window` -> the model's input for them."""
        short = round(_LEAST * self.rate) - len(window)
        window = np.pad(window, (0, max(0, short)))
        output = self._extractor(window, sampling_rate=self.rate, return_tensors="np")
        return np.ascontiguousarray(output[self.name][0], np.float32)

    def inputs(self, values: torch.Tensor, real: torch.Tensor) -> dict[str, torch.Tensor]:
        """(E, length, ...) values, of which `real` (E,) per row are no padding -> model inputs."""
        inputs = {self.name: values}
        if self._masked:
            inputs["attention_mask"] = (torch.arange(values.shape[1]) < real[:, None]).long()
        if self.fused:  # no window is longer than the model's input
            inputs["is_longer"] = torch.zeros(len(values), 1, dtype=torch.bool)
        return inputs


def _most(extractor: Any) -> int | None:
    """Samples of the longest input; CLAP and Whisper say it, AST counts 25 ms frames each 10."""
    if hasattr(extractor, "num_mel_bins") and hasattr(extractor, "max_length"):
        return round(extractor.sampling_rate * (0.01 * (extractor.max_length - 1) + 0.025))
    return getattr(extractor, "nb_max_samples", None) or getattr(extractor, "n_samples", None)


@dataclass(frozen=True)
class _Plan:
    """Everything the options and the folder's files settle before weights are loaded."""

    folder: Path
    front: FrontEnd
    outline: backbone.Outline
    pooling: str

    @classmethod
    def read(cls, options: "TransformersAudio.Options") -> "_Plan":
        folder = checkpoint.locate(options.model, options.revision)
        config = backbone.read_config(folder)
        front = FrontEnd(folder, config, options.window)
        example = torch.zeros(1, *front.shape)
        if front.fused:  # which of CLAP's windows are long can't be traced, and changes no length
            config.audio_config.enable_fusion = False
            example = example[:, :1]
        outline = backbone.outline(config, "audio", {front.name: example})
        return cls(folder, front, outline, outline.choose(options.pooling))

    def identity(self) -> Identity:
        """What these settings make comparable."""
        return backbone.identity(
            self.folder,
            "audio",
            self.outline,
            pooling=self.pooling,
            preprocessing=checkpoint.settings(
                self.folder, "processor_config.json", "preprocessor_config.json"
            ),
            rate=self.front.rate,
            window=self.front.window / self.front.rate,
            tail="kept, weighted by duration",
        )
