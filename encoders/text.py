"""Any Hugging Face text encoder: text -> vector.

Pooling: `mean` (the default) and `max` over the real tokens, special ones included, as
sentence-transformers does it; `cls` the first token; `pooler` the model's own pooled output, the
default for two-tower models (CLIP, SigLIP, CLAP), whose text vectors are compared with those of
their pictures or sounds. Such models read every text padded to their full length, as in training.

A text longer than `max_length` tokens is cut off (`long: truncate`) or read in chunks of that many
tokens (`long: chunk`). The chunks' vectors are averaged, weighted by their numbers of tokens, and
normalised once afterwards: with mean pooling that is the mean over all tokens of the text.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import backbone, batching, checkpoint, packing, pieces, pooling
from encoders.base import Identity
from encoders.media.errors import MediaError, Reason
from encoders.openvino import runtime_of
from encoders.pieces import Piece, Pieces
from encoders.transfer import to_device

# Per model batch, for short and for long lists: a CPU core is saturated by 512 tokens, and loses a
# sixth with 256; but each length ends in a batch that is half empty, which only many texts make up.
TOKENS = {"cpu": (256, 512), "cuda": (4096, 16_384)}
# Rows of a model batch at most, and tokens of a row, where texts lie side by side (on a CPU). One row
# with torch: how many there are may decide about a bit. With OpenVINO it doesn't; that computes
# attention over whole rows: short ones cost less, and eight of them make the most of large weights.
PACKED = {"torch": (1, 512), "openvino": (8, 128)}
_FEW = 8  # texts that might not fill one such batch, as queries: each is computed by itself
_LONGEST = 512  # attention is quadratic: longer inputs only when asked for
# Their positions start at 2.
_OFFSET = ("roberta", "xlm-roberta", "camembert", "mpnet", "clap_text_model")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)


class TransformersText:
    """Texts -> (B, D) by the model in `options.model`."""

    batch = 1

    @dataclass(frozen=True)
    class Options:
        """model: a hub id or a local folder; revision: branch, tag or commit, for a hub id;
        pooling: cls | mean | max | pooler; max_length: tokens, special ones included, by default
        what the folder's sentence-transformers settings say, else what the model takes up to 512;
        long: truncate | chunk; normalize: vectors of unit length, by default where the
        sentence-transformers settings have a Normalize step."""

        model: str = field(metadata={"location": True})
        revision: str | None = None
        pooling: str | None = None
        max_length: int | None = None
        long: str = "truncate"
        normalize: bool | None = None

        def __post_init__(self) -> None:
            pooling.check(self.pooling)
            if self.max_length is not None and self.max_length < 8:
                raise ValueError(f"expected max_length of at least 8 tokens, got {self.max_length}")
            if self.long not in ("truncate", "chunk"):
                raise ValueError(f"expected long: truncate | chunk, got {self.long!r}")

    def __init__(self, options: Options, *, precision: str = "fp32", device: str = "cpu") -> None:
        # Rust threads of its own would compete with the other actors' cores.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._plan = _Plan.read(options)
        plan = self._plan
        self.identity = plan.identity()
        self.dim = self.identity.dim
        self.module = backbone.build(
            plan.folder, "text", plan.outline, pooling=plan.pooling,
            precision=precision, device=device, normalize=plan.normalize,
        )  # fmt: skip
        self._device = device
        self._packs = plan.packs and device == "cpu"
        if self._packs:
            packing.allow(self.module.model)

    @classmethod
    def identify(cls, options: Options) -> Identity:
        """What vectors of these options are comparable with; loads no weights into a model."""
        return _Plan.read(options).identity()

    def prepare(self, items: Sequence[str]) -> list[Pieces]:
        """-> token ids per text, in one or more chunks.

        Raises:
            MediaError: EMPTY, only white space; BAD_FORMAT, not valid Unicode.
        """
        for text in items:
            if not text.strip():
                raise MediaError(Reason.EMPTY, "the text is only white space")
            try:
                text.encode()
            except UnicodeEncodeError as err:
                reason = "the text has half a surrogate pair in it"
                raise MediaError(Reason.BAD_FORMAT, reason) from err
        if not items:
            return []
        return [
            tuple(Piece(np.array(ids, np.int32), float(len(ids))) for ids in chunks)
            for chunks in self._plan.chunks(items)
        ]

    def cost(self, item: Pieces) -> int:
        """Tokens."""
        return sum(len(piece.values) for piece in item)

    def tensors(self, batch: Sequence[Pieces]) -> dict[str, torch.Tensor]:
        """Prepared texts -> what `module` takes to give (B, D)."""
        return pieces.tensors(batch, self._inputs, self._device)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Pieces | None]) -> np.ndarray:
        """(B, D) float32; a zero row for None."""
        if self._packs:
            vectors = pieces.encode(batch, self.dim, self._packed(len(batch)), self._run_packed)
        else:
            vectors = pieces.encode(batch, self.dim, self._padded(len(batch)), self._run_padded)
        return self.module.finish(vectors).numpy()

    def _packed(self, items: int) -> Callable[[Sequence[int]], list[batching.PackedBatch]]:
        rows, room = PACKED[runtime_of(self.module)] if items >= _FEW else (1, 0)
        return lambda lengths: batching.packed_batches(lengths, rows, room)

    def _padded(self, items: int) -> Callable[[Sequence[int]], list[batching.TokenBatch]]:
        least, most = TOKENS[torch.device(self._device).type]
        budget = self.batch * min(most, max(least, batching.power_of_two(items)))
        return lambda lengths: batching.token_batches(
            list(map(batching.padded_length, lengths)), budget, items=items
        )

    def _run_padded(self, members: list[Piece], part: batching.TokenBatch) -> torch.Tensor:
        return self.module(**self._inputs(members, part.rows, part.length))

    def _run_packed(self, members: list[Piece], part: batching.PackedBatch) -> torch.Tensor:
        tokens = [piece.values for piece in members]
        plan = self._plan
        inputs = packing.lay_out(tokens, part, padding=plan.padding, first=plan.first)
        hidden = self.module(**inputs)
        spans = packing.spans(inputs["segment"])
        texts = (hidden[row : row + 1, start:stop] for row, start, stop in spans)
        return torch.cat([pooling.pool(text, plan.pooling) for text in texts])

    def _inputs(self, parts: list[Piece], rows: int, length: int) -> dict[str, torch.Tensor]:
        """(rows, length) ids, attention mask and numbers of real tokens, padded on the right."""
        if self._plan.padded:
            length = self._plan.max_length
        length = min(length, self._plan.max_length)
        ids = np.full((rows, length), self._plan.padding, np.int64)
        count = np.ones(rows, np.int64)  # an all-masked row would be NaN
        for row, piece in enumerate(parts):
            count[row] = len(piece.values)
            ids[row, : count[row]] = piece.values
        inputs = {"input_ids": ids, "count": count}
        if "attention_mask" in self._plan.tokenizer.model_input_names:
            inputs["attention_mask"] = (np.arange(length) < count[:, None]).astype(np.int64)
        return {
            name: to_device(torch.from_numpy(value), self._device) for name, value in inputs.items()
        }


@dataclass(frozen=True)
class _Plan:
    """Everything the options and the folder's files settle before weights are loaded."""

    folder: Path
    tokenizer: Any
    outline: backbone.Outline
    pooling: str
    max_length: int
    chunked: bool
    normalize: bool
    padded: bool  # always to max_length
    packs: bool  # texts may lie side by side
    first: int  # position of a text's first token

    @classmethod
    def read(cls, options: "TransformersText.Options") -> "_Plan":
        folder = checkpoint.locate(options.model, options.revision)
        tokenizer = _tokenizer(folder)
        config = backbone.read_config(folder)
        example = {"input_ids": torch.ones(1, 8, dtype=torch.long)}
        outline = backbone.outline(config, "text", example)
        most = _most(tokenizer, config)
        if options.max_length is not None and options.max_length > most:
            raise ValueError(f"max_length {options.max_length}: this model takes at most {most}")
        stated = checkpoint.settings(folder, "sentence_bert_config.json").get("max_seq_length")
        max_length = options.max_length or min(stated or _LONGEST, most)
        if tokenizer.is_fast:
            backend = tokenizer.backend_tokenizer
            backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
            backend.no_padding()
        elif options.long == "chunk":
            raise ValueError(
                f"model {folder.name}: long: chunk needs a tokenizer that splits; expected a "
                f"tokenizer.json, got a {type(tokenizer).__name__} in Python"
            )
        steps = str(checkpoint.read_json(folder / "modules.json"))
        normalize = options.normalize
        how = outline.choose(options.pooling)
        # A model's own pooled output is made of the first token of a row.
        packs = packing.fits(config) and how != "pooler"
        return cls(
            folder=folder,
            tokenizer=tokenizer,
            outline=outline,
            pooling=how,
            max_length=max_length,
            chunked=options.long == "chunk",
            normalize="Normalize" in steps if normalize is None else normalize,
            padded=hasattr(config, "text_config"),
            packs=packs,
            first=config.pad_token_id + 1 if packs and config.model_type in _OFFSET else 0,
        )

    @property
    def padding(self) -> int:
        """The id that fills rows up."""
        return self.tokenizer.pad_token_id or 0

    def chunks(self, texts: Sequence[str]) -> list[list[list[int]]]:
        """The token ids of each text, cut off or in several parts."""
        if not self.tokenizer.is_fast:
            cut = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)
            return [[ids] for ids in cut["input_ids"]]
        # Not through transformers, whose bookkeeping takes as long as this.
        encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(list(texts))
        return [
            [part.ids for part in (one, *(one.overflowing if self.chunked else ()))]
            for one in encoded
        ]

    def identity(self) -> Identity:
        """What these settings make comparable."""
        return backbone.identity(
            self.folder,
            "text",
            self.outline,
            pooling=self.pooling,
            tokenizer=checkpoint.fingerprint(self.folder, *_TOKENIZER_FILES),
            max_length=self.max_length,
            long="chunk" if self.chunked else "truncate",
            normalize=self.normalize,
        )


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    with checkpoint.quiet():
        try:
            return AutoTokenizer.from_pretrained(
                folder, use_fast=True, local_files_only=True, trust_remote_code=False
            )
        except Exception as err:  # transformers raises many types for a bad folder
            raise ValueError(
                f"model {folder.name}: no usable tokenizer; expected tokenizer.json"
            ) from err


def _most(tokenizer: Any, config: Any) -> int:
    """The longest input in tokens; a tokenizer that does not know says 1e30."""
    text = getattr(config, "text_config", config)
    known = getattr(text, "max_position_embeddings", 1_000_000)
    return min(tokenizer.model_max_length, known - 2 * (text.model_type in _OFFSET))
