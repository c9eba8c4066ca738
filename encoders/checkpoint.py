"""Finding a Hugging Face model on disk or on the hub, and saying which weights it holds.

Only safetensors: a pickle runs code when it is opened. The hub is asked only for what the local
cache lacks, so that a job on an isolated cluster starts at once and always gets the same revision.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from encoders.weight_files import digest as file_digest

_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_UNWANTED = ["onnx/*", "openvino/*", "original/*"]
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
# Bookkeeping in the JSON files that changes no vector.
_NOISE = {
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "processor_class",
    "torch_dtype",
    "dtype",
    "id2label",
    "label2id",
}


def locate(model: str, revision: str | None = None) -> Path:
    """The folder that holds `model`: itself, the local cache's copy, or a fresh download.

    Raises:
        ValueError: there is no such model, the hub can't be reached, or it has no safetensors.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision:
            raise ValueError(f"revision {revision!r} is for hub ids, and {model!r} is a folder")
    elif model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise ValueError(f"model {model!r}: no such folder")
    else:
        folder = _snapshot(model, revision)
    if not (folder / "config.json").is_file():
        raise ValueError(f"model {model!r}: the folder has no config.json")
    read_json(folder / "config.json")  # a broken one misleads every later message
    if not weight_files(folder):
        pickled = any(next(folder.glob(pattern), None) for pattern in _PICKLES)
        why = "only pickled weights, which can run code when opened" if pickled else "no weights"
        raise ValueError(
            f"model {model!r} has {why}; expected model.safetensors: "
            "convert it with transformers' save_pretrained, or choose a revision that has it"
        )
    return folder


def _snapshot(model: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    fetch = partial(
        snapshot_download,
        model,
        revision=revision,
        allow_patterns=_WANTED,
        ignore_patterns=_UNWANTED,
    )
    try:
        folder = Path(fetch(local_files_only=True))
        if weight_files(folder):
            return folder
    except Exception:  # not in the cache, in the several ways the library says so
        pass
    try:
        with quiet():
            return Path(fetch(etag_timeout=5))
    except Exception as err:  # unreachable, unknown, private or malformed: the same way out
        at = f" at revision {revision}" if revision else ""
        raise ValueError(
            f"model {model!r}{at} is neither a local folder nor in the local cache, and the hub "
            f"did not give it ({type(err).__name__}): download it where there is a network with "
            f"`hf download {model}`, or give a folder"
        ) from err


def weight_files(folder: Path) -> list[Path]:
    """model.safetensors, or the shards its index names; empty where neither is complete.

    Raises:
        ValueError: the index is nonsense, or names files elsewhere.
    """
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    content = read_json(index)
    named = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(named, dict) or not all(map(_is_shard, named.values())):
        raise ValueError(
            f"{index.name} of the model: expected names of safetensors files beside it"
        )
    shards = sorted({folder / name for name in named.values()})
    return shards if all(shard.is_file() for shard in shards) else []


def _is_shard(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name


def weights_digest(folder: Path) -> str:
    """sha256 of the weight file; of the shards' names and digests where there are several."""
    files = weight_files(folder)
    digests = [file_digest(file) for file in files]
    if len(files) == 1:
        return digests[0]
    lines = [f"{file.name} {digest}\n" for file, digest in zip(files, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_json(file: Path) -> Any:
    """A JSON file of the model; an empty mapping where it does not exist.

    Raises:
        ValueError: it is not valid JSON.
    """
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise ValueError(f"{file.name} of the model is not valid JSON: {err}") from err


def settings(folder: Path, *names: str) -> dict[str, Any]:
    """The JSON files of these names merged, without what changes no vector."""
    merged: dict[str, Any] = {}
    for name in names:
        content = read_json(folder / name)
        if not isinstance(content, dict):
            raise ValueError(f"{name} of the model: expected a JSON object")
        merged |= content
    return {key: value for key, value in sorted(merged.items()) if key not in _NOISE}


def fingerprint(folder: Path, *names: str) -> str:
    """Sixteen hex digits over those of these files that exist; JSON without its bookkeeping."""
    digest = hashlib.sha256()
    for name in names:
        file = folder / name
        if name.endswith("config.json"):
            digest.update(json.dumps(settings(folder, name), sort_keys=True).encode())
        elif file.is_file():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' progress bars and advice; what they were set to returns afterwards."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from huggingface_hub.utils import enable_progress_bars as enable_hub_bars
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_hub_bars()
