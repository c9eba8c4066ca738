"""Models from strangers: no pickle is opened, no code of theirs runs, nonsense is a sentence.

Every attack writes the same canary when it succeeds.
"""

import contextlib
import json
import pickle
import struct
import zipfile

import pytest
import torch
import transformers
from canaries import Touch
from safetensors.torch import save_file

import encoders
from encoders import checkpoint, weight_files
from encoders.base import EncoderSpec
from encoders.vggish_weights import convert
from learning.checkpoint import Checkpoint

EVIL = """
from pathlib import Path
Path({canary!r}).write_text("code ran")
from transformers import *
Evil = BertModel
EvilConfig = BertConfig
EvilTokenizer = BertTokenizer
EvilProcessor = ViTImageProcessor
"""


@pytest.fixture
def folder(tmp_path):
    """A tiny model that works."""
    place = tmp_path / "model"
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(place)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "shoe", "cup"]
    transformers.BertTokenizerFast(vocab={w: i for i, w in enumerate(words)}).save_pretrained(place)
    return place


def use(folder, kind="text"):
    """What a run and a query do with a model: identify, build, encode."""
    spec = EncoderSpec(kind, "transformers", {"model": str(folder)})
    encoders.identify(spec)
    encoder = encoders.build(spec)
    return encoder.encode(encoder.prepare(["red shoe"]))


def edit(path, **changes):
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(found | changes))


def test_the_model_works_before_it_is_tampered_with(folder):
    assert use(folder).shape == (1, 16)


def pickled(canary):
    """The same attack as a plain pickle and in torch's own two formats."""
    plain = pickle.dumps({"weight": Touch(canary)})
    return {"plain": lambda path: path.write_bytes(plain),
            "torch": lambda path: torch.save({"weight": Touch(canary)}, path),
            "old torch": lambda path: torch.save({"weight": Touch(canary)}, path,
                                                 _use_new_zipfile_serialization=False)}  # fmt: skip


@pytest.mark.parametrize("form", ["plain", "torch", "old torch"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_a_folder_of_pickles_is_refused(folder, canary, form, name):
    (folder / "model.safetensors").unlink()
    pickled(canary)[form](folder / name)
    with pytest.raises(ValueError, match="only pickled weights, which can run code"):
        use(folder)


@pytest.mark.parametrize("form", ["plain", "torch", "old torch"])
def test_a_pickle_called_safetensors_is_refused(folder, canary, form):
    path = folder / "model.safetensors"
    pickled(canary)[form](path)
    with pytest.raises(ValueError, match="can't load the weights"):
        use(folder)
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        weight_files.load(str(path))
    assert Checkpoint(path).load() is None


@pytest.mark.parametrize("form", ["plain", "torch", "old torch"])
def test_a_pickle_beside_safetensors_is_not_opened(folder, canary, form):
    for name in ("pytorch_model.bin", "training_args.bin", "vocab.pkl", "optimizer.pt"):
        pickled(canary)[form](folder / name)
    assert use(folder).shape == (1, 16)


@pytest.mark.parametrize("form", ["plain", "torch", "old torch"])
def test_converting_opens_no_pickle_that_runs_code(tmp_path, canary, form):
    pickled(canary)[form](tmp_path / "vggish.pth")
    with pytest.raises(ValueError, match="can be read safely"):
        convert(tmp_path / "vggish.pth", tmp_path / "out.safetensors")


def header(text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + body


ABSURD = {
    "empty": b"",
    "no header": b"\0\0\0",
    "header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "header of 4 GB": struct.pack("<Q", 2**32) + b"{" + b" " * 100,
    "no JSON": header(b"\xff\xfe{}"),
    "deep JSON": header(b"[" * 100_000),
    "a list": header(b"[]"),
    "offsets outside": header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', b"1234"),
    "offsets backwards": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', b"1234"),
    "shape of 2^64": header(
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}', b"1234"
    ),
    "overlap": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                      b'"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"1234"),
    "unknown type": header(b'{"a":{"dtype":"PICKLE","shape":[1],"data_offsets":[0,4]}}', b"1234"),
    "a zip": b"PK\3\4" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_safetensors_are_a_sentence(folder, name):
    path = folder / "model.safetensors"
    path.write_bytes(ABSURD[name])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        weight_files.load(str(path))
    with pytest.raises(ValueError, match="can't load the weights"):
        use(folder)


INDEXES = {
    "outside": {"weight_map": {"a": "../evil.safetensors"}},
    "absolute": {"weight_map": {"a": "/etc/passwd"}},
    "a pickle": {"weight_map": {"a": "pytorch_model.bin"}},
    "numbers": {"weight_map": {"a": 7}},
    "a list": {"weight_map": ["a"]},
    "nothing": {},
}


@pytest.mark.parametrize("name", INDEXES)
def test_the_index_of_shards_names_files_of_the_folder(folder, canary, name):
    torch.save({"a": Touch(canary)}, folder / "pytorch_model.bin")
    save_file({"a": torch.zeros(1)}, folder.parent / "evil.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(INDEXES[name]))
    with pytest.raises(ValueError, match="model"):
        use(folder)


MAPS = {
    "auto_map": {
        "AutoConfig": "evil.EvilConfig", "AutoModel": "evil.Evil",
        "AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"],
        "AutoImageProcessor": "evil.EvilProcessor", "AutoProcessor": "evil.EvilProcessor",
        "AutoFeatureExtractor": "evil.EvilProcessor",
    },
    "tokenizer_class": "EvilTokenizer", "processor_class": "EvilProcessor",
    "architectures": ["Evil"], "trust_remote_code": True, "use_safetensors": False,
    "custom_pipelines": {"x": {"impl": "evil.Evil", "pt": ["AutoModel"]}},
}  # fmt: skip
FILES = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json",
         "adapter_config.json", "generation_config.json")  # fmt: skip


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("key", MAPS)
def test_code_beside_a_model_is_not_run(folder, canary, file, key):
    for name in ("evil.py", "modeling.py", "configuration.py"):
        (folder / name).write_text(EVIL.format(canary=str(canary)))
    edit(folder / file, **{key: MAPS[key]})
    with contextlib.suppress(ValueError):  # refused, or used without what is beside it
        use(folder)


@pytest.mark.parametrize("kind", ["image", "text", "audio"])
def test_a_kind_of_model_that_only_code_could_make_is_refused(folder, canary, kind):
    (folder / "evil.py").write_text(EVIL.format(canary=str(canary)))
    edit(folder / "config.json", model_type="evil", auto_map=MAPS["auto_map"])
    with pytest.raises(ValueError, match="model"):
        use(folder, kind)


def test_code_of_another_repository_is_not_fetched(folder, canary, monkeypatch):
    monkeypatch.setattr(
        checkpoint, "_snapshot", lambda *_: pytest.fail("a repository was asked for")
    )
    edit(folder / "config.json", auto_map={"AutoModel": "somebody/evil--modeling.Evil"})
    assert use(folder).shape == (1, 16)
    edit(folder / "config.json", model_type="evil")
    with pytest.raises(ValueError, match="model"):
        use(folder)


def test_numpy_weights_with_objects_are_refused(tmp_path, canary):
    import numpy as np

    np.savez(tmp_path / "pca.npz", weight=np.array([Touch(canary)], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        convert(tmp_path / "pca.npz", tmp_path / "out.safetensors")
    with zipfile.ZipFile(tmp_path / "pca.npz") as archive:
        assert archive.namelist() == ["weight.npy"]
