"""What every encoder in the table promises. A new line in ENCODERS is tested by itself: it needs
sample items for its kind (here), and where it needs options to be built, a line in OPTIONS."""

import functools
import importlib.util
import io
import itertools
import pickle
import tarfile
import warnings

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file
from vggish_tensors import vggish_tensors

import encoders
from encoders.agreement import least_cosine
from encoders.base import EncoderSpec, Identity
from encoders.media.errors import MediaError
from encoders.media.types import Image, Waveform

WAYS = [
    (name, kind, runtime)
    for name, entry in encoders.ENCODERS.items()
    for kind in entry.targets
    for runtime in (("torch", "openvino") if entry.network else ("torch",))
]
COUNT = 6


@pytest.fixture(scope="module")
def items(data):
    """{kind: COUNT items as decoding gives them}, the shapes and lengths all different."""
    rng = np.random.default_rng(0)
    return {
        "image": _photos(data),
        "text": [
            "a cat",
            "two small dogs play",
            "ünïcödé",
            "1 + 1",
            "x",
            "a much longer text " * 9,
        ],
        "audio": [
            Waveform(rng.normal(0, 0.1, length).astype(np.float32), rate)
            for length, rate in itertools.product((9000, 22050, 40000), (16000, 44100))
        ],
        "vector": list(rng.normal(size=(COUNT, 5)).astype(np.float32)),
        "numeric": [0.0, -1.5, 3.25, 1e6, 1e-6, 42.0],
        "categorical": ["red", "green", "blue", "red", "", "ünïcödé"],
    }


def _photos(data):
    with tarfile.open(data / "photos/caltech101/caltech101.tar") as archive:
        names = [name for name in archive.getnames() if name.endswith(".jpg")][:: 1200 // COUNT]
        opened = (PIL.Image.open(io.BytesIO(archive.extractfile(name).read())) for name in names)
        return [Image(np.array(photo.convert("RGB"))) for photo in opened][:COUNT]


def _vggish_weights(folder):
    save_file(vggish_tensors(), folder / "vggish.safetensors")
    return str(folder / "vggish.safetensors")


def _audio_folder(folder):
    import transformers

    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_length=64,
    )
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(max_length=64).save_pretrained(folder)
    return str(folder)


# Options of encoders that can't be built from defaults alone: (data, empty folder) -> options.
OPTIONS = {
    ("transformers", "image"): lambda data, _: {
        "model": str(data / "weights/hf/mobilenet_v1_0.25_128")
    },
    ("transformers", "text"): lambda data, _: {"model": str(data / "weights/hf/all-MiniLM-L6-v2")},
    ("transformers", "audio"): lambda _, folder: {"model": _audio_folder(folder)},
    ("vggish", "audio"): lambda _, folder: {"weights": _vggish_weights(folder)},
    ("yamnet", "audio"): lambda data, _: {"weights": str(data / "weights/yamnet.safetensors")},
    ("as-is", "vector"): lambda *_: {"dim": 5},
}


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def way(request):
    return request.param


@pytest.fixture(scope="module")
def spec(way, data, tmp_path_factory):
    name, kind, _ = way
    module = encoders.ENCODERS[name].targets[kind].partition(":")[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} does not exist yet")
    give = OPTIONS.get((name, kind), lambda *_: {})
    return EncoderSpec(kind, name, give(data, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module")
def build(spec, way):
    return functools.partial(encoders.build, spec, runtime=way[2])


@pytest.fixture(scope="module")
def encoder(build):
    return build()


@pytest.fixture(scope="module")
def prepared(spec, encoder, items):
    return encoder.prepare(items[spec.kind])


@pytest.fixture(scope="module")
def vectors(encoder, prepared):
    return encoder.encode(prepared)


def test_vectors_are_float32_rows_of_the_stated_length(encoder, vectors):
    assert vectors.dtype == np.float32
    assert vectors.shape == (COUNT, encoder.dim)
    assert np.isfinite(vectors).all()
    assert vectors.any()


def test_identity_is_known_before_the_weights_are_loaded(spec, encoder):
    identity = encoders.identify(spec)
    assert isinstance(identity, Identity)
    assert identity == encoder.identity
    assert identity.dim == encoder.dim
    assert identity.digest == encoders.identify(spec).digest
    assert identity.encoder == spec.name


def test_the_same_list_gives_the_same_bytes(spec, build, encoder, prepared, vectors, items):
    assert np.array_equal(encoder.encode(prepared), vectors)
    again = build()
    assert np.array_equal(again.encode(again.prepare(items[spec.kind])), vectors)


def test_a_batch_equals_its_items_one_by_one(spec, encoder, vectors, items):
    alone = [encoder.encode(encoder.prepare([item])) for item in items[spec.kind]]
    np.testing.assert_allclose(np.concatenate(alone), vectors, rtol=1e-4, atol=1e-5)


def test_whatever_computes_it_the_vectors_are_the_same(spec, way, prepared, vectors):
    if way[2] == "torch":
        pytest.skip("what the others are compared with")
    assert least_cosine(encoders.build(spec).encode(prepared), vectors) > 0.99999
    half = encoders.build(spec, runtime=way[2], precision="bf16").encode(prepared)
    assert least_cosine(half, vectors) > 0.99


def test_an_empty_batch_is_empty(encoder):
    assert list(encoder.prepare([])) == []
    empty = encoder.encode([])
    assert (empty.shape, empty.dtype) == ((0, encoder.dim), np.float32)


def test_none_is_a_zero_row_and_changes_no_other(encoder, prepared, vectors):
    for lost in ([0], [COUNT - 1], [1, 4], list(range(COUNT))):
        kept = [place for place in range(COUNT) if place not in lost]
        encoded = encoder.encode(
            [None if place in lost else prepared[place] for place in range(COUNT)]
        )
        assert encoded.dtype == np.float32
        assert not encoded[lost].any()
        assert np.array_equal(encoded[kept], vectors[kept])


def test_encode_leaves_prepared_items_alone(encoder, prepared, vectors):
    before = pickle.dumps(prepared)
    encoder.encode(prepared)
    assert pickle.dumps(prepared) == before


def test_a_helper_without_weights_prepares_the_same(spec, way, items, prepared):
    if way[2] != "torch":
        pytest.skip("nothing is computed")
    helper = encoders.build(spec, device="meta")
    assert pickle.dumps(list(helper.prepare(items[spec.kind]))) == pickle.dumps(list(prepared))
    if encoders.ENCODERS[spec.name].network:
        assert all(parameter.is_meta for parameter in helper.module.parameters())


def test_items_from_shared_memory_are_encoded_as_they_are(encoder, prepared, vectors):
    buffers = []
    dumped = pickle.dumps(prepared, protocol=5, buffer_callback=buffers.append)
    shared = pickle.loads(dumped, buffers=[bytes(buffer.raw()) for buffer in buffers])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's, of memory that can't be written
        assert np.array_equal(encoder.encode(shared), vectors)


@pytest.mark.parametrize("batch", [2, 4])
def test_larger_batches_change_the_last_bits_at_most(spec, way, prepared, vectors, batch):
    if way[2] != "torch" or not encoders.ENCODERS[spec.name].network:
        pytest.skip("only a GPU gets them, and only a network has any")
    larger = encoders.build(spec, batch=batch).encode(prepared * batch)
    np.testing.assert_allclose(larger, np.tile(vectors, (batch, 1)), rtol=1e-4, atol=1e-5)


def test_costs_are_positive_numbers(encoder, prepared):
    assert all(isinstance(encoder.cost(item), int) and encoder.cost(item) > 0 for item in prepared)


def test_learned_encoders_expose_module_and_tensors(encoder, prepared):
    if not encoder.identity.weights:
        pytest.skip("has no weights that could be trained")
    assert isinstance(encoder.module, torch.nn.Module)
    tensors = encoder.tensors(prepared)
    assert tensors
    assert all(isinstance(value, torch.Tensor) for value in tensors.values())


def test_specs_and_options_pickle(spec):
    assert pickle.loads(pickle.dumps(spec)) == spec
    options = encoders.options_type(spec.kind, spec.name)(**spec.options)
    assert pickle.loads(pickle.dumps(options)) == options


UNUSABLE = {
    "text": ["   ", "\ud800"],
    "audio": [
        Waveform(np.zeros(0, np.float32), 16000),
        Waveform(np.array([np.nan] * 20000, np.float32), 16000),
    ],
    "vector": [np.array([1.0, np.nan, 0, 0, 0], np.float32), np.zeros(3, np.float32)],
    "numeric": [float("nan"), float("inf")],
}


def test_unusable_items_raise_or_are_encoded_but_never_spoil(spec, encoder):
    """Each raises MediaError or ValueError, or gives a finite vector: no NaN leaves an encoder."""
    for item in UNUSABLE.get(spec.kind, ()):
        try:
            vector = encoder.encode(encoder.prepare([item]))
        except (MediaError, ValueError):
            continue
        assert np.isfinite(vector).all()


def test_unknown_names_and_kinds_list_the_known():
    with pytest.raises(ValueError, match=r"unknown encoder 'resnet'; known: .*transformers"):
        encoders.identify(EncoderSpec("image", "resnet"))
    with pytest.raises(ValueError, match="'vggish' takes audio, not image"):
        encoders.identify(EncoderSpec("image", "vggish"))


@pytest.mark.parametrize("do", [encoders.identify, encoders.build])
def test_options_that_it_does_not_take_are_told(do):
    with pytest.raises(
        ValueError, match="^encoder 'hashed-ngrams': got .*'colour'; its options: dim"
    ):
        do(EncoderSpec("text", "hashed-ngrams", {"colour": "red"}))


@pytest.mark.parametrize("name", [name for name, entry in encoders.ENCODERS.items() if entry.size])
def test_the_catalogue_states_the_true_size(name):
    entry = encoders.ENCODERS[name]
    if entry.needs != "nothing":
        pytest.skip("its identity needs weights; its own tests check the size")
    (kind,) = entry.targets
    assert str(encoders.identify(EncoderSpec(kind, name)).dim) == entry.size
