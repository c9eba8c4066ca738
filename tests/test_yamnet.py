"""YAMNet against its published outputs, and the classes that its vectors find."""

import io
import json
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from encoders.media.types import Waveform
from encoders.yamnet import SameConv2d, YAMNet, YAMNetOptions


def decode(raw: bytes, rate: int | None = None) -> Waveform:
    """Mono float at the file's own rate, or at `rate` by FFmpeg's resampler."""
    with av.open(io.BytesIO(raw)) as container:
        stream = container.streams.audio[0]
        rate = rate or stream.rate
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
        return Waveform(np.concatenate([frame.to_ndarray().ravel() for frame in frames]), rate)


@pytest.fixture(scope="module")
def encoder(data: Path) -> YAMNet:
    return YAMNet(YAMNetOptions(weights=str(data / "weights/yamnet.safetensors")))


@pytest.fixture(scope="module")
def clips(data: Path) -> list[dict]:
    return pq.read_table(data / "esc10/esc10.parquet").to_pylist()


def test_published_outputs(encoder, clips, data) -> None:
    by_path = {clip["path"]: clip["audio"] for clip in clips}
    published = json.loads((data / "weights/yamnet.json").read_text())["reference_outputs"]["items"]
    assert len(published) == 3
    for item in published:
        prepared = encoder.prepare([decode(by_path[item["file"].partition(":")[2]], 16_000)])
        assert encoder.cost(prepared[0]) == item["patches"]
        [vector] = encoder.encode(prepared)
        assert np.linalg.norm(vector) == pytest.approx(item["mean_embedding_l2"], abs=1e-3)
        np.testing.assert_allclose(vector[:8], item["mean_embedding_first8"], atol=1e-3)


def test_finds_the_class_of_real_sounds(encoder, clips) -> None:
    """The publisher's own implementation and resampler find 72 of 80."""
    vectors = encoder.encode(encoder.prepare([decode(clip["audio"]) for clip in clips]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    classes = np.array([clip["class_name"] for clip in clips])
    query = np.array([clip["fold"] == 3 for clip in clips])
    nearest = (vectors[query] @ vectors[~query].T).argmax(axis=1)
    assert query.sum() == 80
    assert (classes[~query][nearest] == classes[query]).mean() >= 0.88


def test_neighbours_and_holes_change_no_bit(encoder, clips) -> None:
    prepared = encoder.prepare([decode(clip["audio"]) for clip in clips[:6]])
    whole = encoder.encode(prepared)
    holed = encoder.encode([None, *prepared[1:4], None, prepared[5]])
    np.testing.assert_array_equal(holed[[1, 2, 3, 5]], whole[[1, 2, 3, 5]])
    assert not holed[[0, 4]].any()
    np.testing.assert_array_equal(encoder.encode(prepared[4:5])[0], whole[4])


def test_module_and_tensors_give_the_same(encoder) -> None:
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, 40_000).astype("f4")
    prepared = encoder.prepare([Waveform(samples, 16_000), Waveform(samples[:10], 16_000)])
    with torch.no_grad():
        got = encoder.module(**encoder.tensors(prepared))
    np.testing.assert_allclose(got, encoder.encode(prepared), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "patches"),
    [(1, 1), (15_599, 1), (15_600, 1), (23_279, 1), (23_280, 2), (80_000, 9)],
)
def test_patch_counts(encoder, samples: int, patches: int) -> None:
    [prepared] = encoder.prepare([Waveform(np.zeros(samples, "f4"), 16_000)])
    assert prepared.shape == (patches, 96, 64)


@pytest.mark.parametrize(("size", "stride"), [(96, 2), (97, 2), (64, 1), (5, 2)])
def test_same_padding_puts_the_odd_zero_last(size: int, stride: int) -> None:
    """TensorFlow's rule written out: output i sums three inputs from i * stride - before on."""
    layer = SameConv2d(1, 1, 3, stride=stride, bias=False)
    torch.nn.init.ones_(layer.weight)
    maps = torch.rand(1, 1, size, size)
    outputs = -(-size // stride)
    before = max((outputs - 1) * stride + 3 - size, 0) // 2
    padded = np.zeros((size + 4, size + 4))
    padded[before : before + size, before : before + size] = maps[0, 0]
    starts = range(0, outputs * stride, stride)
    expected = [[padded[i : i + 3, j : j + 3].sum() for j in starts] for i in starts]
    with torch.no_grad():
        np.testing.assert_allclose(layer(maps)[0, 0], expected, rtol=1e-5)


def test_refusals(tmp_path) -> None:
    with pytest.raises(ValueError, match="option `weights` is not given"):
        YAMNetOptions()
    save_file({"layer00.weight": torch.zeros(32, 1, 3, 3)}, tmp_path / "part.safetensors")
    with pytest.raises(
        ValueError, match=r"Found: layer00.weight \[32, 1, 3, 3\]\. Missing.*and 41 more"
    ):
        YAMNet(YAMNetOptions(weights=str(tmp_path / "part.safetensors")))
