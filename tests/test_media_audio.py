"""Sounds: against the manifest, libsndfile, and samples written by hand."""

import csv
import io
import struct
import wave

import numpy as np
import pytest

from encoders.media import Limits, MediaError, Reason, Waveform, decode

LIMITS = Limits()
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")


def waveform(raw: bytes, limits: Limits = LIMITS) -> Waveform:
    sound = decode(raw, "audio", limits)
    assert isinstance(sound, Waveform)
    return sound


def refused(raw: bytes, limits: Limits = LIMITS) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decode(raw, "audio", limits)
    return caught.value


def wav(
    samples: bytes,
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = 8000,
    bits: int = 16,
    extra: bytes = b"",
    size: int | None = None,
) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + extra
    size = len(samples) if size is None else size
    chunks = (
        b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + samples
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.fixture(scope="module")
def manifest(data):
    with open(data / "audio_formats/manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(data):
    return data / "audio_formats"


def test_every_sound_has_its_rate_and_length(manifest, folder):
    assert len(manifest) == 34
    for row in manifest:
        sound = waveform((folder / row["path"]).read_bytes())
        assert sound.rate == int(row["sample_rate"]), row["path"]
        assert sound.samples.shape == (int(row["audio_samples"]),), row["path"]
        assert sound.samples.dtype == np.float32
        assert sound.samples.flags.c_contiguous
        assert sound.samples.flags.writeable
        assert np.abs(sound.samples).max() < 1.5, row["path"]


def test_samples_equal_libsndfiles(manifest, folder):
    soundfile = pytest.importorskip("soundfile")
    compared = 0
    for row in manifest:
        raw = (folder / row["path"]).read_bytes()
        try:
            theirs, rate = soundfile.read(io.BytesIO(raw), always_2d=True, dtype="float64")
        except soundfile.LibsndfileError:
            continue
        ours = waveform(raw)
        mono = theirs.mean(axis=1)
        if rate != ours.rate:
            assert row["audio_codec"] == "opus"  # one may be decoded at any of five rates
            continue
        lossless = row["audio_codec"].startswith("pcm") or row["audio_codec"] == "flac"
        if lossless:
            assert len(mono) == len(ours.samples), row["path"]
            np.testing.assert_allclose(ours.samples, mono, atol=1e-6, err_msg=row["path"])
        else:  # another decoder, another idea of the padding: the same sound at some small shift
            assert _best_correlation(ours.samples, mono) > 0.99, row["path"]
        compared += 1
    assert compared >= 15


def _best_correlation(a: np.ndarray, b: np.ndarray) -> float:
    size = 1 << (len(a) + len(b)).bit_length()
    product = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    return float(product.max() / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize(
    ("bits", "dtype", "tag"),
    [(8, "u1", 1), (16, "<i2", 1), (32, "<i4", 1), (32, "<f4", 3), (64, "<f8", 3)],
)
def test_plain_wav_formats(bits, dtype, tag):
    signal = np.linspace(-1, 1, 501)[:-1]
    kind = np.dtype(dtype)
    stored = signal if kind.kind == "f" else np.floor(signal * 2.0 ** (bits - 1))
    stored = (stored + 128 if bits == 8 else stored).astype(kind)
    got = waveform(wav(stored.tobytes(), tag=tag, bits=bits)).samples
    np.testing.assert_allclose(got, signal, atol=1.1 / 2 ** (min(bits, 24) - 1))
    assert got[0] == -1.0


def test_24_bits_with_sign():
    values = [-(2**23), -1, 0, 1, 2**23 - 1]
    raw = b"".join(value.to_bytes(3, "little", signed=True) for value in values)
    got = waveform(wav(raw, bits=24)).samples
    np.testing.assert_array_equal(got, np.array(values, np.float32) / np.float32(2**23))


def test_channels_are_averaged():
    frames = np.array([[100, 300], [-200, 0]], "<i2")
    got = waveform(wav(frames.tobytes(), channels=2)).samples
    np.testing.assert_array_equal(got * 32768, [200, -100])


def test_extensible_header():
    extra = struct.pack("<HHI", 22, 16, 4) + PCM_GUID
    got = waveform(wav(struct.pack("<2h", 16384, -16384), tag=0xFFFE, extra=extra))
    assert got.samples.tolist() == [0.5, -0.5]


def test_the_standard_library_agrees():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(np.arange(-1000, 1000, dtype="<i2").tobytes())
    got = waveform(buffer.getvalue())
    assert got.rate == 44100
    np.testing.assert_allclose(got.samples * 32768, np.arange(-1000, 1000, 2) + 0.5)


def test_a_stream_of_unknown_size_goes_to_the_end():
    got = waveform(wav(struct.pack("<4h", 1, 2, 3, 4), size=0xFFFFFFFF))
    assert len(got.samples) == 4


def test_a_cut_off_wav_is_an_error():
    raw = wav(bytes(2000))
    assert refused(raw[:1000]).reason == Reason.DECODE_ERROR
    assert len(waveform(raw[:-1]).samples) == 999  # half a sample is none


@pytest.mark.parametrize("name", ["bear.flac", "sample_ac3.mp4", "alaw.wav", "silence-1.wma"])
def test_a_cut_off_sound_is_an_error(folder, name):
    raw = (folder / "files" / name).read_bytes()
    assert refused(raw[: len(raw) * 6 // 10]).reason == Reason.DECODE_ERROR


def test_a_hole_in_the_middle_is_an_error(folder):
    # ADTS frames whose headers are intact and whose bodies are not.
    raw = bytearray((folder / "files/bbb_1ch_8kHz_aac_lc.aac").read_bytes())
    for at in range(6000, 8000):
        if raw[at : at + 2] == b"\xff\xf1":
            raw[at + 7 : at + 60] = b"\xff" * 53
    assert refused(bytes(raw)).reason == Reason.DECODE_ERROR


@pytest.mark.parametrize("rubbish", [b"TAG" + bytes(125), b"\xff" * 3000, bytes(5000)])
def test_rubbish_after_an_mp3_shortens_nothing(folder, rubbish):
    raw = (folder / "files/test-cbr-info-header.mp3").read_bytes()
    intact = waveform(raw).samples
    got = waveform(raw + rubbish).samples
    np.testing.assert_array_equal(got[: len(intact)], intact)
    assert len(got) - len(intact) < 1152  # FFmpeg then leaves the padding of the last frame in


def test_too_long_by_the_header():
    raw = wav(bytes(160_000))  # 10 s
    assert len(waveform(raw, Limits(seconds=10)).samples) == 80_000
    assert refused(raw, Limits(seconds=9.9)).reason == Reason.TOO_LARGE


@pytest.mark.parametrize(
    "name", ["bbb_1ch_12kHz_q10_vorbis.webm", "bear-vbr-xing-header.mp3", "bear.flac"]
)
def test_too_long_while_decoding(folder, name):
    raw = (folder / "files" / name).read_bytes()
    assert refused(raw, Limits(seconds=1)).reason == Reason.TOO_LARGE


def test_not_finite():
    raw = wav(np.array([0, np.nan, 1], "<f4").tobytes(), tag=3, bits=32)
    assert refused(raw).reason == Reason.NON_FINITE


def test_no_samples():
    assert refused(wav(b"")).reason == Reason.EMPTY


def test_a_video_without_sound_given_as_sound(data):
    raw = (data / "videos/files/h265_video.mp4").read_bytes()
    error = refused(raw)
    assert error.reason == Reason.UNSUPPORTED
    assert "no sound track" in error.message


def test_a_picture_given_as_sound(data):
    raw = (data / "photos/mixed_formats/files/hopper_gray.jpg").read_bytes()
    assert str(refused(raw)).startswith(
        "UNSUPPORTED: a JPEG picture; expected a sound or video file"
    )


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{canary}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{canary}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
        "<Representation><BaseURL>{canary}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    ],
)
def test_playlists_open_no_other_file(tmp_path, text):
    canary = tmp_path / "canary.wav"
    canary.write_bytes(wav(struct.pack("<400h", *range(400))))
    for kind in ("audio", "video"):
        with pytest.raises(MediaError) as caught:
            decode(text.format(canary=canary).encode(), kind, LIMITS)
        assert caught.value.reason == Reason.UNSUPPORTED
