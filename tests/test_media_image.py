"""Pictures: against the manifest, FFmpeg's own decoders, and arithmetic done by hand."""

import csv
import io
import struct
import subprocess
import sys
import zlib

import av
import numpy as np
import pytest
from PIL import Image as pillow
from PIL import ImageFile

from encoders.media import Image, Limits, MediaError, Reason, decode

LIMITS = Limits()
WITHOUT_PLUGIN = "files/sample_MP.heic"


def pixels(raw: bytes, limits: Limits = LIMITS) -> np.ndarray:
    picture = decode(raw, "image", limits)
    assert isinstance(picture, Image)
    return picture.pixels


def saved(picture: pillow.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def refused(raw: bytes, limits: Limits = LIMITS) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decode(raw, "image", limits)
    return caught.value


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT"


@pytest.fixture(scope="module")
def manifest(data):
    with open(data / "photos/mixed_formats/manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(data):
    return data / "photos/mixed_formats"


def test_every_valid_picture_decodes_to_its_size(manifest, folder):
    assert len(manifest) == 170
    for row in manifest:
        if row["path"] == WITHOUT_PLUGIN:
            continue
        size = (int(row["height"]), int(row["width"]))
        sideways = row["exif_orientation"] in ("5", "6", "7", "8")
        got = pixels((folder / row["path"]).read_bytes())
        assert got.shape == (*(size[::-1] if sideways else size), 3), row["path"]
        assert got.dtype == np.uint8, row["path"]
        assert got.flags.c_contiguous, row["path"]
        assert got.flags.owndata, row["path"]


def test_heif_is_named_in_the_refusal(folder):
    error = refused((folder / WITHOUT_PLUGIN).read_bytes())
    assert error.reason == Reason.UNSUPPORTED
    assert "HEIF" in error.message


@pytest.mark.parametrize("scene", ["Landscape", "Portrait"])
def test_all_eight_orientations_come_out_upright(folder, scene):
    # The eight files are separate JPEG encodings of one scene, so equal only up to compression.
    scenes = [pixels((folder / f"files/{scene}_{k}.jpg").read_bytes()) for k in range(1, 9)]
    reference = scenes[0].astype(np.int16)
    for k, turned in enumerate(scenes[1:], start=2):
        assert turned.shape == reference.shape
        # The caption in the picture names the orientation, so a small part differs.
        close = np.abs(turned - reference).max(axis=2) < 60
        assert close.mean() > 0.9, k
        mirrored = np.abs(turned[:, ::-1] - reference).max(axis=2) < 60
        assert close.mean() > mirrored.mean() + 0.2, k


def test_lossless_pictures_equal_ffmpegs_decoding(manifest, folder):
    compared = 0
    for row in manifest:
        lossless = row["format"] in ("PNG", "BMP", "PPM", "QOI", "TGA")
        if not lossless or row["mode"] != "RGB" or row["transparency"] == "True":
            continue
        raw = (folder / row["path"]).read_bytes()
        try:
            with av.open(io.BytesIO(raw)) as container:
                frame = next(container.decode(video=0))
        except (av.error.FFmpegError, StopIteration):
            continue
        if frame.format.name not in (
            "rgb24",
            "bgr24",
            "rgba",
            "bgra",
            "bgr0",
            "0rgb",
            "pal8",
            "gbrp",
        ):
            continue  # deeper or subsampled: swscale rounds in its own way
        np.testing.assert_array_equal(
            pixels(raw), frame.to_ndarray(format="rgb24"), err_msg=row["path"]
        )
        compared += 1
    assert compared >= 8


def test_grey_of_16_bits_is_divided_by_257():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for form in ("PNG", "TIFF"):
        got = pixels(saved(pillow.fromarray(values), form))
        np.testing.assert_array_equal(got[..., 0], np.round(values / 257.0))
        assert (got[..., :1] == got).all()


def test_tiff_of_12_bits_uses_its_own_range(folder):
    raw = (folder / "files/12bit.cropped.tif").read_bytes()
    values = np.asarray(pillow.open(io.BytesIO(raw)))
    np.testing.assert_array_equal(pixels(raw)[..., 0], np.rint(values * (255 / 4095)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),  # fractions
        ([0.0, 100.0, 255.0], [0, 100, 255]),  # levels
        ([-1.0, 0.0, 1.0], [0, 128, 255]),  # stretched
        ([0.0, 0.5, np.nan], [0, 128, 0]),
        ([-np.inf, 0.0, np.inf], [0, 0, 0]),
    ],
)
def test_float_pictures(values, expected):
    raw = saved(pillow.fromarray(np.array([values], np.float32)), "TIFF")
    assert pixels(raw)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 257, 65535], [0, 1, 255]), ([-51, 0, 204], [0, 51, 255]), ([0, 0, 0], [0, 0, 0])],
)
def test_pictures_of_32_bit_integers(values, expected):
    raw = saved(pillow.fromarray(np.array([values], np.int32)), "TIFF")
    assert pixels(raw)[0, :, 0].tolist() == expected


def test_transparency_is_on_white():
    levels = np.zeros((1, 3, 4), np.uint8)
    levels[0, :, 3] = (0, 51, 255)
    assert pixels(saved(pillow.fromarray(levels), "PNG"))[0, :, 0].tolist() == [255, 204, 0]


def test_transparent_palette_entry_is_white():
    palette = pillow.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    got = pixels(saved(palette, "PNG", transparency=0))
    assert got.tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_cmyk_is_subtractive():
    ink = pillow.new("CMYK", (8, 8), (255, 0, 0, 0))
    np.testing.assert_array_equal(pixels(saved(ink, "TIFF"))[0, 0], [0, 255, 255])


def test_one_bit_is_black_and_white():
    bits = pillow.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert pixels(saved(bits, "PNG")).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animation_gives_its_first_frame(form):
    frames = [pillow.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if form == "WEBP" else {}
    raw = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(pixels(raw)[8, 8], [255, 0, 0])


def test_progressive_jpeg_equals_baseline():
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    picture = pillow.fromarray(noise)
    plain = pixels(saved(picture, "JPEG", quality=90))
    np.testing.assert_array_equal(
        plain, pixels(saved(picture, "JPEG", quality=90, progressive=True))
    )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_orientation():
    picture = pillow.new("RGB", (6, 4), "red")
    raw = saved(picture, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert pixels(raw).shape == (4, 6, 3)


def test_a_bomb_is_refused_by_its_header():
    error = refused(png_header(20_000, 20_000))
    assert error.reason == Reason.BOMB
    error = refused(png_header(300, 200), Limits(pixels=59_999))
    assert str(error) == (
        "BOMB: 300 x 200 = 60000 pixels; limits.pixels is 59999: raise it if you trust this source"
    )


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "TGA"])
def test_pillows_own_cap_speaks_in_our_words(form, monkeypatch):
    raw = saved(pillow.new("RGB", (60, 50)), form)
    ours = refused(raw, Limits(pixels=500))
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 1000)
    assert str(refused(raw, Limits(pixels=500))) == str(ours)
    assert "60 x 50 = 3000 pixels; limits.pixels is 500" in str(ours)


def test_a_real_bomb_is_refused_in_our_words():
    error = refused(png_header(60_000, 60_000))
    assert error.reason == Reason.BOMB
    assert "60000 x 60000 = 3600000000 pixels; limits.pixels is 178000000" in str(error)


def test_a_limit_above_pillows_cap_is_honoured(monkeypatch):
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 1000)
    raw = saved(pillow.new("RGB", (60, 50)), "PNG")
    assert pixels(raw, Limits(pixels=3000)).shape == (50, 60, 3)
    assert pillow.MAX_IMAGE_PIXELS == 3000
    refused(raw, Limits(pixels=2999))
    assert pillow.MAX_IMAGE_PIXELS == 3000  # a lower limit does not lower it for other threads


def test_a_bomb_inside_an_icon_is_refused():
    inner = png_header(9000, 9000)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    error = refused(struct.pack("<HHH", 0, 1, 1) + entry + inner, Limits(pixels=1_000_000))
    assert error.reason == Reason.BOMB


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF"])
def test_a_cut_off_picture_is_an_error(form):
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    raw = saved(pillow.fromarray(noise), form)
    assert refused(raw[: len(raw) // 2]).reason == Reason.DECODE_ERROR


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"%PDF-1.7 ...", Reason.UNSUPPORTED),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.UNSUPPORTED),
        (b"hello, I am no picture", Reason.UNSUPPORTED),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", Reason.UNSUPPORTED),
        (bytes(range(7, 256)), Reason.BAD_FORMAT),
        (b"\x89PNG\r\n\x1a\n", Reason.DECODE_ERROR),
    ],
)
def test_reasons(raw, reason):
    assert refused(raw).reason == reason


def test_too_many_bytes():
    assert refused(b"x" * 11, Limits(bytes=10)).reason == Reason.TOO_LARGE


def test_messages_are_the_same_every_time(folder):
    raw = (folder / "files/Landscape_1.jpg").read_bytes()[:5000]
    messages = {str(refused(raw)) for _ in range(3)}
    assert len(messages) == 1
    assert "0x" not in messages.pop()


def test_an_unknown_kind_is_the_callers_mistake():
    with pytest.raises(ValueError, match="unknown kind of medium 'picture'"):
        decode(b"x", "picture", LIMITS)


def test_torch_is_never_imported():
    code = (
        "import sys, encoders.media as m\n"
        "for kind in m.KINDS:\n"
        "    try: m.decode(b'x', kind, m.Limits(), frames=None)\n"
        "    except m.MediaError: pass\n"
        "assert 'PIL' in sys.modules and 'av' in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
