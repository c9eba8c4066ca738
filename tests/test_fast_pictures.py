"""Pictures decoded small and resized in torch: against transformers' own preprocessing of all pixels."""

import io
import json
import tarfile

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from test_encoders_image import PREPROCESSING

import encoders
from chaos.in_process import without_ray
from encoders import geometry
from encoders.agreement import least_cosine
from encoders.base import EncoderSpec
from encoders.media import Limits, MediaError, Reason, decode
from encoders.media.types import Image
from pipeline import config as configuration
from pipeline import probe
from pipeline.describe import source_spec
from pipeline.extract import extract
from pipeline.isolate import Disposable, InActor, decoder
from pipeline.plan import Plan
from pipeline.prepare import Preparer
from pipeline.run import Options, run
from pipeline.search.query import QueryEncoder
from pipeline.sources import open_source
from pipeline.stopwatch import Stopwatch

CLOSE = 0.995
SIZES = {
    "squashed": {"size": {"height": 32, "width": 40}},
    "cropped": {"size": {"height": 40, "width": 36}, "crop": 32},
    "proportions": {"size": {"shortest_edge": 37}, "crop": 32},
    "bilinear": {"size": {"shortest_edge": 37}, "crop": 32, "resample": 2},
    "convnext": {"size": {"shortest_edge": 32}, "name": "ConvNextImageProcessor"},
    "convnext large": {"size": {"shortest_edge": 384}, "name": "ConvNextImageProcessor"},
    "plain numbers": {"size": {"height": 32, "width": 32}, "do_normalize": False},
    "one mean": {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
}  # fmt: skip
OTHER = {
    "box filter": {"resample": 4},
    "channels swapped": {"name": "MobileViTImageProcessor", "do_flip_channel_order": True},
    "padded to the crop": {"size": {"height": 24, "width": 24}, "crop": 32},
    "size kept": {"do_resize": False, "crop": 32},
}


def model(folder, config=None, *, size=None, crop=None, name="BitImageProcessor", **settings):
    """A tiny network with the preprocessing asked for."""
    torch.manual_seed(0)
    config = config or transformers.ResNetConfig(
        hidden_sizes=[8, 16], depths=[1, 1], embedding_size=8, layer_type="basic"
    )
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    described = PREPROCESSING | {
        "image_processor_type": name,
        "size": size or PREPROCESSING["size"],
        "do_center_crop": crop is not None,
        "crop_size": crop,
    }
    described |= settings
    (folder / "preprocessor_config.json").write_text(json.dumps(described))
    return folder


def built(folder, **options):
    return encoders.build(EncoderSpec("image", "transformers", {"model": str(folder), **options}))


def photo(raw):
    return PIL.Image.open(io.BytesIO(raw)).convert("RGB")


def jpeg(picture, size=None, **options):
    sink = io.BytesIO()
    (picture.resize(size, PIL.Image.Resampling.BICUBIC) if size else picture).save(
        sink, "JPEG", **({"quality": 90} | options)
    )
    return sink.getvalue()


@pytest.fixture(scope="module")
def photos(data):
    with tarfile.open(data / "photos/coco_captions/coco_captions.tar") as archive:
        names = [name for name in archive.getnames() if name.endswith(".jpg")]
        return [archive.extractfile(name).read() for name in names[::12]]


@pytest.fixture(scope="module")
def large(photos):
    """As cameras give them."""
    return [jpeg(photo(raw), (4000, 3000)) for raw in photos[:2]]


def small_vit(folder):
    config = transformers.ViTConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536
    )
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    return model(folder, config, size={"shortest_edge": 256}, crop=224, **imagenet)


@pytest.mark.parametrize("which", ["mobilenet", "vit"])
def test_vectors_of_photos_are_close_to_the_reference(which, data, photos, large, tmp_path):
    trained = data / "weights/hf/mobilenet_v2_1.0_224"
    folder = trained if which == "mobilenet" else small_vit(tmp_path)
    fast, reference = built(folder), built(folder, resize="reference")
    assert fast.identity.settings["resize"] == "fast"
    assert fast.identity.least_side == 512
    assert reference.identity.least_side is None

    def vectors(encoder):
        side = encoder.identity.least_side
        raws = photos + large
        pictures = [decode(raw, "image", Limits(), least_side=side) for raw in raws]
        return encoder.encode(encoder.prepare(pictures))

    assert least_cosine(vectors(fast), vectors(reference)) > CLOSE


@pytest.mark.parametrize("case", SIZES)
def test_numbers_are_those_of_the_models_own_processor(case, tmp_path, photos):
    model(tmp_path, **SIZES[case])
    encoder = built(tmp_path)
    assert encoder.identity.settings["resize"] == "fast"
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    levels = 1 / (255 * 0.2) if processor.do_normalize else 1 / 255
    tall = photo(photos[0]).transpose(PIL.Image.Transpose.ROTATE_90)
    for picture in (photo(photos[0]), tall, tall.resize((20, 31)), tall.resize((1, 1))):
        (item,) = encoder.prepare([Image(np.array(picture))])
        expected = processor(picture, return_tensors="np")["pixel_values"]
        found = encoder.tensors([item])["pixel_values"].numpy()
        assert item.dtype == np.uint8
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 16 * levels
        assert np.abs(found - expected).mean() < 0.25 * levels


@pytest.mark.parametrize("case", OTHER)
def test_what_torch_does_not_do_alike_is_left_to_the_processor(case, tmp_path, photos):
    model(tmp_path, **OTHER[case])
    encoder = built(tmp_path)
    assert encoder.identity.settings["resize"] == "reference"
    assert encoder.identity == built(tmp_path, resize="reference").identity
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    picture = photo(photos[0])
    (item,) = encoder.prepare([Image(np.array(picture))])
    expected = processor(picture, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(encoder.tensors([item])["pixel_values"], expected)


def test_the_channels_stay_last_while_a_picture_is_resized(monkeypatch):
    """Else torch computes plane by plane: the same numbers, in twice the time."""
    resized, interpolate = [], geometry.functional.interpolate

    def spy(*pictures, **how):
        resized.append(interpolate(*pictures, **how))
        return resized[-1]

    monkeypatch.setattr(geometry.functional, "interpolate", spy)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    found = geometry.Geometry(40, (32, 32), "bicubic")(pixels)
    assert resized[0].is_contiguous(memory_format=torch.channels_last)
    planes = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).unsqueeze(0)
    whole = interpolate(planes, size=(40, 48), mode="bicubic", antialias=True)
    np.testing.assert_array_equal(found, whole[0, :, 4:36, 8:40].numpy())


def test_an_unknown_resize_is_refused():
    with pytest.raises(ValueError, match=r"expected resize fast \| reference, got 'exact'"):
        encoders.options_type("image", "transformers")(model="x", resize="exact")


@pytest.mark.parametrize(
    ("side", "size"),
    [
        (None, (800, 1203)),
        (401, (800, 1203)),
        (400, (400, 602)),
        (201, (400, 602)),
        (200, (200, 301)),
        (100, (100, 151)),
        (1, (100, 151)),
    ],
)
def test_no_side_is_shorter_than_asked(side, size, photos):
    for turned in (1, 6):
        exif = PIL.Image.Exif()
        exif[0x0112] = turned
        raw = jpeg(photo(photos[0]), (1203, 800), exif=exif)
        pixels = decode(raw, "image", Limits(), least_side=side).pixels
        assert pixels.shape[:2] == (size if turned == 1 else size[::-1])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_scaled_jpeg_is_the_averaged_picture(mode, progressive, photos):
    raw = jpeg(photo(photos[0]).resize((800, 640)).convert(mode), progressive=progressive)
    whole = decode(raw, "image", Limits()).pixels.astype(float)
    quarter = decode(raw, "image", Limits(), least_side=160).pixels
    averaged = whole.reshape(160, 4, 200, 4, 3).mean(axis=(1, 3))
    assert quarter.flags.owndata
    assert np.abs(quarter - averaged).mean() < 3


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF"])
def test_other_formats_come_whole(form, photos):
    sink = io.BytesIO()
    photo(photos[0]).save(sink, form)
    whole = decode(sink.getvalue(), "image", Limits()).pixels
    small = decode(sink.getvalue(), "image", Limits(), least_side=8).pixels
    np.testing.assert_array_equal(small, whole)


def test_limits_are_about_the_picture_in_the_file(photos):
    raw = jpeg(photo(photos[0]), (1200, 800))
    with pytest.raises(MediaError, match="1200 x 800 = 960000 pixels") as caught:
        decode(raw, "image", Limits(pixels=900_000), least_side=8)
    assert caught.value.reason is Reason.BOMB


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_off_jpeg_is_an_error_at_every_scale(progressive, photos):
    raw = jpeg(photo(photos[0]), (1200, 800), progressive=progressive)
    for side in (None, 400, 100):
        with pytest.raises(MediaError, match="truncated") as caught:
            decode(raw[: len(raw) // 2], "image", Limits(), least_side=side)
        assert caught.value.reason is Reason.DECODE_ERROR


def test_an_isolated_retry_decodes_alike(photos):
    raw = jpeg(photo(photos[0]), (1200, 800))
    tool = Disposable(Limits())
    try:
        outside = tool.decode(raw, "image", None, False, 200)
    finally:
        tool.close()
    inside = InActor(Limits()).decode(raw, "image", None, False, 200)
    assert inside.pixels.shape == (200, 300, 3)
    np.testing.assert_array_equal(outside.pixels, inside.pixels)


def test_records_retries_probes_and_queries_are_decoded_alike(tmp_path, photos):
    """The vectors of pictures decoded small, by each way there; of whole pictures they would differ."""
    raws = [jpeg(photo(raw), (640, 480)) for raw in photos[:3]]
    folder = model(tmp_path)
    table = pa.table({"id": ["a", "b", "c"], "photo": raws})
    pq.write_table(table, tmp_path / "records.parquet")
    encoder = {"name": "transformers", "model": str(folder)}
    config = configuration.parse(
        {
            "source": {"path": "records.parquet", "id": "id"},
            "modalities": {"photo": {"kind": "image", "encoder": encoder}},
            "output": "run",
            "precision": "fp32",
        },
        tmp_path,
    )
    with without_ray():
        run(config, Options(("extract",)))
    spec = config.features()[0].encoder
    network = encoders.build(spec)

    def vectors(side):
        pictures = [decode(raw, "image", Limits(), least_side=side) for raw in raws]
        return network.encode(network.prepare(pictures))

    expected, whole = vectors(network.identity.least_side), vectors(None)
    assert (np.abs(expected - whole).max(axis=1) > 1e-4).all()
    (part,) = (tmp_path / "run/features/photo").glob("*.parquet")
    np.testing.assert_array_equal(np.stack(pq.read_table(part)["vector"].to_numpy()), expected)

    source = open_source(source_spec(config), tmp_path / "run/plan")
    (shard,) = Plan.open(tmp_path / "run/plan").shards()
    tool = decoder(Limits(), isolated=True)
    try:
        rows, built = source.read(shard, ["photo"]), {"photo": network}
        prepare = Preparer(source, config, "photo", built, tool).each
        (column,), _ = extract(rows, source, config, "photo", built, prepare, Stopwatch("read"))
    finally:
        tool.close()
    again = np.stack(column.table()["vector"].to_numpy())
    np.testing.assert_array_equal(again, expected)

    items = probe.gather(config.features()[0], config, source_spec(config), network)
    np.testing.assert_array_equal(network.encode(items), expected)

    asking = QueryEncoder(config, {"photo": network.identity})
    (term,) = asking.terms({"photo": raws[0]}, {}, {"photo": network.dim}, {})
    (alone,) = network.encode(items[:1])
    np.testing.assert_array_equal(term.vector, alone)
