"""A Hugging Face model as a module that gives one vector per example.

What a model can give (tokens or a map, a pooled output, a class token) is read off the
architecture itself, built without weights on torch's meta device, so that new families need no
table. A model of two towers (CLIP, SigLIP, CLAP) gives the projected vector of the one asked for;
of an encoder and a decoder (T5, Whisper), the encoder's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encoders import checkpoint, packing, pooling
from encoders.base import Identity
from encoders.checkpoint import quiet
from encoders.failures import first_line
from encoders.precision import dtype_of, has_amx

# Parameters of pre-training that no forward pass of ours reads.
_UNUSED = ("mask_token", "masked_spec_embed")
_ONE_TOKEN = ("cls_token", "class_embedding", "distillation_token")


@dataclass(frozen=True)
class Outline:
    """What an architecture gives: {pooling: length of the vector}, the default pooling, the number
    of leading tokens that stand for no patch, and whether it works on feature maps."""

    dims: Mapping[str, int]
    default: str
    prefix: int
    convolutional: bool

    def choose(self, pooling: str | None) -> str:
        """The pooling asked for, or the default.

        Raises:
            ValueError: this model can't give it; the message lists what it can.
        """
        if pooling is None:
            return self.default
        if pooling not in self.dims:
            known = " | ".join(sorted(self.dims))
            raise ValueError(f"this model can't give pooling {pooling!r}; it gives {known}")
        return pooling


def read_config(folder: Path) -> Any:
    """The transformers configuration in `folder`.

    Raises:
        ValueError: transformers does not know this kind of model.
    """
    from transformers import AutoConfig

    with quiet():
        try:
            return AutoConfig.from_pretrained(folder, trust_remote_code=False)
        except Exception as err:  # transformers raises many types for a bad folder
            raise ValueError(f"config.json of the model: {first_line(err)}") from err


def outline(config: Any, kind: str, inputs: Mapping[str, Tensor]) -> Outline:
    """Trace the architecture with an example of its inputs: shapes only, no weights, no arithmetic.

    Raises:
        ValueError: the model does not take such inputs.
    """
    from transformers import MODEL_MAPPING, AutoModel

    # Imports the model's code. Under the meta device, a module that makes a tensor when it is
    # imported (torchaudio's Kaldi front end, which AST uses) would keep one without data.
    MODEL_MAPPING.get(type(config), None)
    with quiet(), torch.device("meta"), torch.inference_mode():
        try:
            model = _encoder(AutoModel.from_config(config, dtype=torch.float32)).eval()
            output = _forward(model, kind, {k: v.to("meta") for k, v in inputs.items()})
        except Exception as err:
            raise ValueError(
                f"{config.model_type} is no {kind} encoder: {first_line(err)}"
            ) from err
    if getattr(output, "last_hidden_state", None) is None:
        raise ValueError(f"{config.model_type} is no {kind} encoder: it gives no hidden states")
    return _describe(model, kind, output)


def _describe(model: nn.Module, kind: str, output: Any) -> Outline:
    hidden, pooled = output.last_hidden_state, getattr(output, "pooler_output", None)
    convolutional = hidden.ndim == 4
    width = hidden.shape[1] if convolutional else hidden.shape[-1]
    names = {name.rpartition(".")[2]: value for name, value in model.named_parameters()}
    has_cls = kind == "text" or "cls_token" in names or "class_embedding" in names
    dims = {"mean": width, "max": width}
    if has_cls and not convolutional:
        dims["cls"] = width
    if pooled is not None:
        dims["pooler"] = pooled.flatten(1).shape[1]
    prefix = 0
    if kind != "text":
        prefix = sum(name in names for name in _ONE_TOKEN)
        prefix += names["register_tokens"].shape[1] if "register_tokens" in names else 0
    if "pooler" in dims and (_is_tower(model, kind) or kind == "audio" or convolutional):
        default = "pooler"
    elif kind == "image":
        default = next(how for how in ("cls", "pooler", "mean") if how in dims)
    else:
        default = "mean"
    return Outline(dims, default, prefix, convolutional)


class Backbone(nn.Module):
    """A loaded model and its pooling.

    Inputs:
        the model's own, E rows each; and
        count: (E,) real tokens or frames per row, where rows are padded;
        owner, weight: (E,) which item each row belongs to and how much it counts, to get one
        vector per item ((owner.max() + 1) of them) instead of one per row; or
        segment: (E, T) as `packing.hidden` takes it, to get (E, T, D) hidden states.
    """

    def __init__(
        self,
        model: Any,
        kind: str,
        outline: Outline,
        *,
        pooling: str,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if outline.convolutional:
            model = model.to(memory_format=torch.channels_last)
        self.model = model
        self.kind = kind
        self.outline = outline
        self.pooling = pooling
        self.normalize = normalize

    def forward(
        self,
        *,
        count: Tensor | None = None,
        owner: Tensor | None = None,
        weight: Tensor | None = None,
        segment: Tensor | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """-> (E, D), or (B, D) with owner and weight; float32 whatever the model's precision."""
        if segment is not None:
            return packing.hidden(self.model, segment, **inputs)
        output = _forward(self.model, self.kind, {k: self._cast(v) for k, v in inputs.items()})
        if self.pooling == "pooler":
            vectors = output.pooler_output.flatten(1).float()
        else:
            vectors = pooling.pool(
                output.last_hidden_state, self.pooling, prefix=self.outline.prefix, count=count
            )
        if owner is None or weight is None:
            return vectors
        return self.finish(pooling.average(vectors, owner, weight, int(owner.max()) + 1))

    def _cast(self, value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        value = value.to(next(self.model.parameters()).dtype)
        if self.outline.convolutional and value.ndim == 4:
            return value.contiguous(memory_format=torch.channels_last)
        return value

    def finish(self, vectors: Tensor) -> Tensor:
        """(B, D) averages -> what the encoder gives: of unit length where that is asked for."""
        return nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors


def build(
    folder: Path,
    kind: str,
    outline: Outline,
    *,
    pooling: str,
    precision: str,
    device: str,
    normalize: bool = False,
) -> Backbone:
    """The model in `folder` with its pooling, ready for inference; raises as `load` does."""
    model = load(folder, precision=precision, device=device, pooling=pooling)
    return Backbone(model, kind, outline, pooling=pooling, normalize=normalize).eval()


def identity(
    folder: Path, kind: str, outline: Outline, *, pooling: str, **settings: Any
) -> Identity:
    """What makes vectors of the model in `folder` comparable; settings: those of its preprocessing."""
    return Identity(
        encoder="transformers",
        dim=outline.dims[pooling],
        weights=checkpoint.weights_digest(folder),
        settings={
            "kind": kind,
            "architecture": checkpoint.fingerprint(folder, "config.json"),
            "pooling": pooling,
        }
        | settings,
    )


def load(folder: Path, *, precision: str, device: str, pooling: str) -> Any:
    """The model in `folder`, weights in this precision, ready for inference.

    Raises:
        ValueError: an unknown precision, or the weights do not fit the configuration.
    """
    from transformers import AutoModel

    dtype = dtype_of(precision)
    with quiet():
        try:
            model, report = AutoModel.from_pretrained(
                folder,
                dtype=dtype,  # the default would take the checkpoint's, e.g. float16
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as err:
            raise ValueError(f"can't load the weights of {folder.name}: {first_line(err)}") from err
    ignored = _UNUSED if pooling == "pooler" else (*_UNUSED, "pooler")
    missing = sorted(
        key for key in report["missing_keys"] if not any(part in key for part in ignored)
    )
    if missing:  # transformers would fill them with random numbers
        raise ValueError(
            f"the weights of {folder.name} lack {len(missing)} of the model's tensors, "
            f"{missing[0]} first: they belong to another architecture"
            + ("; choose another pooling" if any("pooler" in key for key in missing) else "")
        )
    if precision == "bf16" and torch.device(device).type == "cpu" and not has_amx():
        # Two products and a softmax: on AVX512-BF16 a tenth to a sixth faster as a whole than the
        # fused kernel, which is made for AMX. In fp32 the fused one is faster.
        model.set_attn_implementation("eager")
    return _encoder(model).eval().to(device)


def _encoder(model: Any) -> Any:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _is_tower(model: nn.Module, kind: str) -> bool:
    return hasattr(model, f"get_{kind}_features")


def _forward(model: nn.Module, kind: str, inputs: Mapping[str, Tensor]) -> Any:
    """The tower of this kind where the model has several, else the model."""
    return getattr(model, f"get_{kind}_features", model)(**inputs)
