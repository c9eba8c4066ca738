"""The networks: one real (MiniLM), the others of their usual shape with random weights from a seed.

How fast a network is doesn't depend on what it has learned; how near half precision comes does a
little, so the page says which are random.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SEED = 0


def locate(name: str, cache: Path, data: Path) -> Path:
    """A model's folder (VGGish: its file), made in the cache when it is first asked for."""
    minilm = data / "weights" / "hf" / "all-MiniLM-L6-v2"
    if name == "minilm":
        return minilm
    folder = cache / "models" / name
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        torch.manual_seed(SEED)
        _MAKERS[name](folder, minilm)
        (folder / "made").touch()
    return folder / "vggish.safetensors" if name == "vggish" else folder


def _bert(folder: Path, minilm: Path) -> None:
    """BERT-base with the tokenizer of MiniLM, which is that of bert-base-uncased."""
    from transformers import BertConfig, BertModel

    BertModel(BertConfig()).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(minilm / name, folder)
    pooling = {"word_embedding_dimension": 768, "pooling_mode_mean_tokens": True}
    steps = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(steps)
    ]
    (folder / "1_Pooling").mkdir()
    _write(folder / "1_Pooling" / "config.json", pooling)
    _write(folder / "modules.json", modules)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False})


def _vit(width: int, heads: int) -> Callable[[Path, Path], None]:
    def make(folder: Path, _: Path) -> None:
        from transformers import ViTConfig, ViTModel

        config = ViTConfig(
            hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width
        )
        ViTModel(config).save_pretrained(folder)
        mean = [0.5, 0.5, 0.5]
        _write(
            folder / "preprocessor_config.json",
            {"image_processor_type": "ViTImageProcessor", "do_resize": True, "resample": 3,
             "size": {"height": 224, "width": 224}, "do_rescale": True, "do_normalize": True,
             "image_mean": mean, "image_std": mean},
        )  # fmt: skip

    return make


def _clip(folder: Path, minilm: Path) -> None:
    """CLIP ViT-B/32; a tokenizer must be there, and no text is read.

    Its weights are spread twice as far as usual: pictures are then no longer all alike (the mean cosine
    of two is 0.68, not 0.90), nearer to those of a trained CLIP, and a neighbour means something.
    """
    from transformers import CLIPConfig, CLIPModel

    spread = {"initializer_factor": 2.0}
    config = CLIPConfig(**spread, vision_config=spread, text_config=spread)
    CLIPModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(minilm / name, folder)
    _write(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 77,
         "pad_token": "[PAD]", "unk_token": "[UNK]"},
    )  # fmt: skip
    _write(
        folder / "preprocessor_config.json",
        {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "resample": 3,
         "size": {"shortest_edge": 224}, "do_center_crop": True,
         "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "do_normalize": True,
         "do_convert_rgb": True,
         "image_mean": [0.48145466, 0.4578275, 0.40821073],
         "image_std": [0.26862954, 0.26130258, 0.27577711]},
    )  # fmt: skip


def _vggish(folder: Path, _: Path) -> None:
    from safetensors.torch import save_file

    from encoders.vggish import VGGishNetwork

    save_file(VGGishNetwork().state_dict(), folder / "vggish.safetensors")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


_MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "bert-base": _bert,
    "vit-small": _vit(384, 6),
    "vit-base": _vit(768, 12),
    "clip": _clip,
    "vggish": _vggish,
}
