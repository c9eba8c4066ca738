import io
import json
import pickle
import tarfile

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import encoders
from encoders.base import EncoderSpec
from encoders.image import ROWS
from encoders.media.errors import MediaError, Reason
from encoders.media.types import Image
from encoders.precision import PROBES, passes_gate

PREPROCESSING = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}
WIDTHS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
PATCHES = {**WIDTHS, "image_size": 32, "patch_size": 8}
DINO = {key: value for key, value in PATCHES.items() if key != "intermediate_size"}
STAGES = {"hidden_sizes": [8, 16, 24, 40], "depths": [1, 1, 1, 1]}
TEXT = {**WIDTHS, "vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2}
CONFIGS = {
    "vit": lambda: transformers.ViTConfig(**PATCHES),
    "deit": lambda: transformers.DeiTConfig(**PATCHES),
    "dinov2": lambda: transformers.Dinov2Config(**DINO),
    "registers": lambda: transformers.Dinov2WithRegistersConfig(**DINO, num_register_tokens=4),
    "swin": lambda: transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
    ),
    "convnext": lambda: transformers.ConvNextConfig(**STAGES),
    "resnet": lambda: transformers.ResNetConfig(**STAGES, embedding_size=8, layer_type="basic"),
    "mobilenet": lambda: transformers.MobileNetV2Config(image_size=32, depth_multiplier=0.25),
    "clip": lambda: transformers.CLIPConfig(
        vision_config=PATCHES, text_config=TEXT, projection_dim=24
    ),
    "siglip": lambda: transformers.SiglipConfig(vision_config=PATCHES, text_config=TEXT),
}
# {family: (default pooling, its length, leading tokens that are no patch)}
EXPECTED = {
    "vit": ("cls", 32, 1),
    "deit": ("cls", 32, 2),
    "dinov2": ("cls", 32, 1),
    "registers": ("cls", 32, 5),
    "swin": ("pooler", 16, 0),
    "convnext": ("pooler", 40, 0),
    "resnet": ("pooler", 40, 0),
    "mobilenet": ("pooler", 1280, 0),
    "clip": ("pooler", 24, 1),
    "siglip": ("pooler", 32, 0),
}


def save(folder, config, **preprocessing):
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    described = json.dumps(PREPROCESSING | preprocessing)
    (folder / "preprocessor_config.json").write_text(described)
    return model


def pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 60, (count, 2))
    return [Image(rng.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]


def spec(folder, **options):
    return EncoderSpec("image", "transformers", {"model": str(folder), **options})


def exact(folder, **options):
    """Preprocessed by transformers itself, so that all that is left to compare is ours."""
    return spec(folder, resize="reference", **options)


def encode(encoder, items):
    return encoder.encode(encoder.prepare(items))


def plain(folder, items):
    """What transformers alone gives, one picture at a time."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    give = getattr(model, "get_image_features", model)
    with torch.inference_mode():
        for item in items:
            yield give(**processor(PIL.Image.fromarray(item.pixels), return_tensors="pt"))


@pytest.fixture(scope="session")
def photos(data):
    with tarfile.open(data / "photos/caltech101/caltech101.tar") as archive:
        names = [name for name in archive.getnames() if name.endswith(".jpg")][::51]
        opened = (PIL.Image.open(io.BytesIO(archive.extractfile(name).read())) for name in names)
        return [Image(np.array(photo.convert("RGB"))) for photo in opened]


@pytest.fixture(scope="session", params=["mobilenet_v2_1.0_224", "mobilenet_v1_0.25_128"])
def real(request, data):
    return data / "weights/hf" / request.param


@pytest.fixture
def tiny(tmp_path):
    save(tmp_path, CONFIGS["vit"]())
    return tmp_path


def test_real_networks_equal_plain_transformers(real, photos):
    expected = [output.pooler_output[0].numpy() for output in plain(real, photos)]
    vectors = encode(encoders.build(exact(real)), photos)
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-5)


def test_real_networks_give_the_published_outputs(real, data):
    """The networks' descriptions hold outputs for pixels cropped first and resized afterwards."""
    described = json.loads((data / f"weights/{real.name}.json").read_text())
    side = described["preprocessing"]["resize"][0]
    encoder = encoders.build(spec(real))
    with tarfile.open(data / "photos/caltech101/caltech101.tar") as archive:
        for item in described["reference_outputs"]["items"]:
            raw = archive.extractfile(item["file"].partition(":")[2]).read()
            photo = PIL.Image.open(io.BytesIO(raw)).convert("RGB")
            width, height = photo.size
            box = (width / 16, height / 16, 15 * width / 16, 15 * height / 16)
            photo = photo.crop(box).resize((side, side), PIL.Image.Resampling.BILINEAR)
            (vector,) = encoder.encode([np.asarray(photo).transpose(2, 0, 1).copy()])
            np.testing.assert_allclose(vector[:8], item["embedding_first8"], atol=1e-4)
            assert np.linalg.norm(vector) == pytest.approx(item["embedding_l2"], abs=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_equals_plain_transformers(family, tmp_path):
    save(tmp_path, CONFIGS[family]())
    pooling, dim, prefix = EXPECTED[family]
    items = pictures(3)
    encoder = encoders.build(exact(tmp_path))
    assert encoder.dim == dim
    assert encoder.identity == encoders.identify(exact(tmp_path))
    assert encoder.identity.settings["pooling"] == pooling
    for item, output in zip(items, plain(tmp_path, items), strict=True):
        hidden = output.last_hidden_state
        if hidden.ndim == 4:
            hidden = hidden.flatten(2).transpose(1, 2)
        expected = {
            "cls": hidden[:, 0],
            "mean": hidden[:, prefix:].mean(1),
            "max": hidden[:, prefix:].amax(1),
            "pooler": output.pooler_output.flatten(1),
        }
        vector = encode(encoder, [item])
        np.testing.assert_allclose(vector, expected[pooling], rtol=1e-4, atol=1e-5)
        for other in ("mean", "max"):
            (vector,) = encode(encoders.build(exact(tmp_path, pooling=other)), [item])
            np.testing.assert_allclose(vector, expected[other][0], rtol=1e-4, atol=1e-5)


def test_pooling_a_model_can_not_give_lists_what_it_can(tmp_path):
    save(tmp_path, CONFIGS["resnet"]())
    with pytest.raises(
        ValueError, match=r"can't give pooling 'cls'; it gives max \| mean \| pooler"
    ):
        encoders.identify(spec(tmp_path, pooling="cls"))


def test_order_changes_no_bit(tiny):
    encoder = encoders.build(spec(tiny))
    prepared = encoder.prepare(pictures(2 * ROWS["cpu"]))
    vectors = encoder.encode(prepared)
    order = np.random.default_rng(1).permutation(len(prepared))
    assert np.array_equal(encoder.encode([prepared[place] for place in order]), vectors[order])


def test_a_lost_item_changes_no_bit_of_the_others(real, photos):
    encoder = encoders.build(spec(real))
    prepared = encoder.prepare(photos[:11])
    vectors = encoder.encode(prepared)
    lost = encoder.encode([None if place in (0, 7) else x for place, x in enumerate(prepared)])
    assert not lost[[0, 7]].any()
    kept = [place for place in range(11) if place not in (0, 7)]
    assert np.array_equal(lost[kept], vectors[kept])


def test_prepared_pictures_wait_as_bytes(tiny):
    (item,) = encoders.build(spec(tiny)).prepare(pictures(1))
    assert item.dtype == np.uint8
    assert item.shape == (3, 32, 32)


def test_a_processor_that_swaps_channels_is_run_whole(tmp_path):
    """Two steps would swap red and blue twice."""
    save(
        tmp_path,
        CONFIGS["mobilenet"](),
        image_processor_type="MobileViTImageProcessor",
        do_flip_channel_order=True,
        do_center_crop=False,
    )
    items = pictures(2)
    expected = [output.pooler_output[0].numpy() for output in plain(tmp_path, items)]
    vectors = encode(encoders.build(spec(tmp_path)), items)
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-5)


def test_preprocessing_of_varying_size_is_refused(tmp_path):
    clip = {"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}
    save(tmp_path, CONFIGS["vit"](), size={"shortest_edge": 32}, **clip)
    with pytest.raises(ValueError, match="pictures of different sizes; set a crop_size"):
        encoders.identify(spec(tmp_path))


def test_needle_shaped_picture_is_unsupported(tiny):
    encoder = encoders.build(spec(tiny))
    with pytest.raises(MediaError, match="2 x 300") as caught:
        encoder.prepare([Image(np.zeros((300, 2, 3), np.uint8))])
    assert caught.value.reason is Reason.UNSUPPORTED


def test_module_and_tensors_give_what_encode_gives_with_gradients(tiny):
    encoder = encoders.build(spec(tiny))
    prepared = encoder.prepare(pictures(4))
    vectors = encoder.module(**encoder.tensors(prepared))
    np.testing.assert_allclose(vectors.detach().numpy(), encoder.encode(prepared), atol=1e-5)
    vectors.square().sum().backward()
    assert all(
        parameter.grad is not None
        for name, parameter in encoder.module.named_parameters()
        if "pooler" not in name
    )


def test_half_precision_checkpoint_is_computed_in_float32(tiny, tmp_path_factory):
    half = tmp_path_factory.mktemp("half")
    save(half, CONFIGS["vit"]())
    weights = {name: value.half() for name, value in load_file(half / "model.safetensors").items()}
    save_file(weights, half / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((half / "config.json").read_text()) | {"dtype": "float16"}
    (half / "config.json").write_text(json.dumps(config))
    encoder = encoders.build(spec(half))
    assert {value.dtype for value in encoder.module.state_dict().values()} == {torch.float32}
    np.testing.assert_allclose(
        encode(encoder, pictures(2)), encode(encoders.build(spec(tiny)), pictures(2)), atol=1e-2
    )


def test_identity_changes_with_what_changes_the_vector(tmp_path):
    def identity(name, config=None, folder=None, precision="fp32", options=None, **preprocessing):
        folder = folder or tmp_path / name
        if config:
            save(folder, config, **preprocessing)
        return encoders.build(spec(folder, **(options or {})), precision=precision).identity.digest

    vit = CONFIGS["vit"]()
    (tmp_path / "base").mkdir()
    base = identity("base", vit)
    different = [
        identity("pooled", folder=tmp_path / "base", options={"pooling": "mean"}),
        identity("normed", vit, image_mean=[0.5, 0.5, 0.5]),
        identity("sized", transformers.ViTConfig(**(PATCHES | {"intermediate_size": 40}))),
    ]
    assert len({base, *different}) == 4
    assert identity("copy", vit) == base
    assert identity("copy", folder=tmp_path / "copy", precision="bf16") == base
    weights = load_file(tmp_path / "copy/model.safetensors")
    weights["embeddings.cls_token"] += 1e-3
    save_file(weights, tmp_path / "copy/model.safetensors", metadata={"format": "pt"})
    assert identity("copy", folder=tmp_path / "copy") != base


def test_bf16_gives_float32_close_to_fp32(tiny):
    prepared = encoders.build(spec(tiny)).prepare(pictures(PROBES))
    measured = passes_gate(lambda how: encoders.build(spec(tiny), precision=how), prepared, "bf16")[
        1
    ]
    assert 0.999 <= measured["least_cosine"] < 1.0


def test_pickled_weights_are_refused(tiny):
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"only pickled weights.*expected model.safetensors"):
        encoders.identify(spec(tiny))


def test_weights_of_another_architecture_are_refused(tiny):
    weights = load_file(tiny / "model.safetensors")
    dropped = {name: value for name, value in weights.items() if ".1." not in name}
    assert len(dropped) < len(weights)
    save_file(dropped, tiny / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack \d+ of the model's tensors"):
        encoders.build(spec(tiny))


def test_missing_pooler_weights_matter_only_to_the_pooler(tiny):
    weights = load_file(tiny / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "pooler" not in name}
    save_file(kept, tiny / "model.safetensors", metadata={"format": "pt"})
    assert encode(encoders.build(spec(tiny)), pictures(1)).any()
    with pytest.raises(ValueError, match="choose another pooling"):
        encoders.build(spec(tiny, pooling="pooler"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "no usable preprocessor"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json of the model"),
    ],
)
def test_incomplete_folders_say_what_is_missing(tiny, spoil, message):
    spoil(tiny)
    with pytest.raises(ValueError, match=message):
        encoders.identify(spec(tiny))


def test_truncated_weights_are_one_sentence(tiny):
    file = tiny / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="can't load the weights"):
        encoders.build(spec(tiny))


def test_a_text_model_is_no_image_encoder(tmp_path):
    save(tmp_path, transformers.BertConfig(**WIDTHS, vocab_size=100))
    with pytest.raises(ValueError, match="bert is no image encoder"):
        encoders.identify(spec(tmp_path))


def test_specs_travel(tiny):
    copy = pickle.loads(pickle.dumps(spec(tiny)))
    assert encoders.identify(copy) == encoders.identify(spec(tiny))
    options = encoders.options_type("image", "transformers")(model=str(tiny), pooling="max")
    assert pickle.loads(pickle.dumps(options)) == options


def test_loading_is_silent(tiny, capfd):
    encode(encoders.build(spec(tiny)), pictures(1))
    assert capfd.readouterr() == ("", "")


def test_pixels_are_the_picture():
    size = 28
    gradient = np.broadcast_to(np.arange(size, dtype=np.uint8)[:, None, None] * 9, (size, size, 3))
    encoder = encoders.build(EncoderSpec("image", "pixels", {"size": size}))
    (vector,) = encode(encoder, [Image(np.ascontiguousarray(gradient))])
    expected = gradient.transpose(2, 0, 1).astype(np.float32) / 255
    np.testing.assert_allclose(vector.reshape(3, size, size), expected, atol=1e-7)


def test_pixels_average_when_they_shrink():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    encoder = encoders.build(EncoderSpec("image", "pixels", {"size": 1}))
    (vector,) = encode(encoder, [Image(noise)])
    np.testing.assert_allclose(vector, noise.mean((0, 1)) / 255, atol=0.03)
