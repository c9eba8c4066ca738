"""VGGish against a plain re-implementation; no public weights are needed, seeded ones do."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional
from vggish_tensors import CONVOLUTIONS, vggish_tensors

import encoders
from encoders import mel
from encoders.base import EncoderSpec
from encoders.media.types import Waveform
from encoders.vggish import PCA, VGGish, VGGishOptions, load_pca, quantise
from encoders.vggish_weights import convert
from encoders.windows import waveform_examples


@pytest.fixture(scope="module")
def weights() -> Mapping[str, torch.Tensor]:
    return vggish_tensors()


@pytest.fixture(scope="module")
def pca() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    vectors = torch.linalg.qr(torch.randn(128, 128, generator=random))[0]
    return {
        "pca_eigen_vectors": vectors.contiguous(),
        "pca_means": torch.randn(128, 1, generator=random),
    }


@pytest.fixture(scope="module")
def files(weights, pca, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vggish")
    save_file(dict(weights), folder / "port.safetensors")
    save_file(pca, folder / "pca.safetensors")
    return folder


@pytest.fixture(scope="module")
def encoder(files) -> VGGish:
    return VGGish(VGGishOptions(weights=str(files / "port.safetensors")))


def noise(samples: int, seed: int = 0, rate: int = 16_000) -> Waveform:
    values = np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype("f4")
    return Waveform(values, rate)


def plain_forward(weights: Mapping[str, torch.Tensor], examples: np.ndarray) -> np.ndarray:
    """The published layers one by one, in float64."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    maps = torch.tensor(examples).double()[:, None]
    for number in CONVOLUTIONS:
        maps = functional.conv2d(
            maps, w[f"features.{number}.weight"], w[f"features.{number}.bias"], padding=1
        )
        maps = maps.clamp(min=0)
        if number in (0, 3, 8, 13):
            maps = functional.max_pool2d(maps, 2, 2)
    # channels last before flattening, as TensorFlow lays them out
    flat = torch.stack([maps[:, :, row, col] for row in range(6) for col in range(4)], 1).flatten(1)
    hidden = (flat @ w["embeddings.0.weight"].T + w["embeddings.0.bias"]).clamp(min=0)
    hidden = (hidden @ w["embeddings.2.weight"].T + w["embeddings.2.bias"]).clamp(min=0)
    return (hidden @ w["embeddings.4.weight"].T + w["embeddings.4.bias"]).numpy()


def test_equals_the_plain_layers_and_keeps_negative_values(encoder, weights) -> None:
    # The last one reaches beyond one batch of the dense layers.
    sounds = [noise(16_000), noise(50_000, 1), noise(126 * 16_000, 2)]
    got = encoder.encode(encoder.prepare(sounds))
    expected = []
    for sound in sounds:
        spectrogram = mel.log_mel(sound.samples, offset=0.01)
        count = 1 + (len(spectrogram) - 96) // 96
        examples = spectrogram[: count * 96].reshape(count, 96, 64)
        expected.append(plain_forward(weights, examples).mean(axis=0))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert (got < 0).any(), "the last layer must have no ReLU"


@pytest.mark.parametrize(
    ("samples", "drop", "pad"),
    [
        (1, 1, 1),
        (15_599, 1, 1),
        (15_600, 1, 1),
        (15_601, 1, 2),
        (30_959, 1, 2),
        (30_960, 2, 2),
        (30_961, 2, 3),
        (160_000, 10, 11),
    ],
)
def test_example_counts(encoder, samples: int, drop: int, pad: int) -> None:
    [dropped] = encoder.prepare([noise(samples)])
    assert dropped.shape == (drop, 96, 64)
    padded = waveform_examples(noise(samples), offset=0.01, hop=96, pad_tail=True)
    assert padded.shape == (pad, 96, 64)
    np.testing.assert_array_equal(padded[:drop], dropped)


def test_a_short_clip_is_padded_with_zeros_at_its_end(encoder) -> None:
    short = noise(9_000)
    whole = Waveform(np.concatenate([short.samples, np.zeros(6_600, "f4")]), 16_000)
    np.testing.assert_array_equal(*[encoder.prepare([sound])[0] for sound in (short, whole)])


def test_neighbours_and_holes_change_no_bit(encoder) -> None:
    prepared = encoder.prepare([noise(15_600 * n, n) for n in (1, 4, 2)])
    whole = encoder.encode(prepared)
    assert not encoder.encode([None, None]).any()
    holed = encoder.encode([None, prepared[1], None])
    np.testing.assert_array_equal(holed[1], whole[1])
    assert not holed[[0, 2]].any()
    np.testing.assert_array_equal(encoder.encode([prepared[2]])[0], whole[2])


def test_module_and_tensors_give_the_same(encoder) -> None:
    prepared = encoder.prepare([noise(40_000), noise(15_600, 1)])
    with torch.no_grad():
        got = encoder.module(**encoder.tensors(prepared))
    expected = encoder.encode(prepared)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_layouts_give_the_same(encoder, weights, pca, files, tmp_path) -> None:
    prepared = encoder.prepare([noise(20_000)])
    expected = encoder.encode(prepared)
    renamed = {k.replace("embeddings.", "embedding_network."): v for k, v in weights.items()}
    save_file(renamed, tmp_path / "torchaudio.safetensors")
    with_pca = dict(weights) | {f"pproc.{name}": value for name, value in pca.items()}
    torch.save(with_pca, tmp_path / "torchvggish.pth")
    convert(tmp_path / "torchvggish.pth", tmp_path / "converted.safetensors")
    for name in ("torchaudio", "converted"):
        other = VGGish(VGGishOptions(weights=str(tmp_path / f"{name}.safetensors")))
        np.testing.assert_array_equal(other.encode(prepared), expected)


def test_pca_and_quantiser(encoder, weights, pca, files) -> None:
    prepared = encoder.prepare([noise(50_000)])
    path = str(files / "pca.safetensors")
    both = {"weights": str(files / "port.safetensors"), "pca": path}
    embeddings = plain_forward(weights, prepared[0])
    vectors = pca["pca_eigen_vectors"].double().numpy()
    projected = (vectors @ (embeddings.T - pca["pca_means"].double().numpy())).T
    got = VGGish(VGGishOptions(**both)).encode(prepared)[0]
    np.testing.assert_allclose(got, projected.mean(axis=0), rtol=1e-2, atol=1e-2)
    got = VGGish(VGGishOptions(**both, quantise=True)).encode(prepared)[0]
    expected = np.floor((np.clip(projected, -2, 2) + 2) * 63.75).mean(axis=0)
    np.testing.assert_allclose(got, expected, atol=1.0)


def test_quantiser_truncates_and_clips() -> None:
    values = np.array([-3.0, -2.0, -1.99, 0.0, 1.0, 1.999, 2.0, 9.0], np.float32)
    np.testing.assert_array_equal(quantise(values), [0, 0, 0, 127, 191, 254, 255, 255])


def test_pca_is_the_published_formula() -> None:
    random = np.random.default_rng(0)
    vectors, means = random.normal(size=(128, 128)), random.normal(size=128)
    rows = random.normal(size=(3, 128))
    expected = [[vectors[i] @ (row - means) for i in range(128)] for row in rows]
    np.testing.assert_allclose(PCA(vectors, means)(rows), expected, rtol=1e-4, atol=1e-4)


def test_converts_the_reference_pca_and_the_port_s_numpy_pickle(pca, tmp_path) -> None:
    arrays = {name: value.double().numpy() for name, value in pca.items()}
    np.savez(tmp_path / "pca.npz", **arrays)
    torch.save(arrays, tmp_path / "pca.pth")
    for source in ("pca.npz", "pca.pth"):
        convert(tmp_path / source, tmp_path / "out.safetensors")
        loaded = load_pca(str(tmp_path / "out.safetensors"))
        np.testing.assert_allclose(loaded.eigenvectors, arrays["pca_eigen_vectors"], rtol=1e-6)
        assert loaded.means.shape == (128,)


class Hostile:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_never_runs_code(tmp_path, capsys) -> None:
    torch.save({"features.0.weight": Hostile()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="no state dict that can be read safely"):
        convert(tmp_path / "bad.pth", tmp_path / "out.safetensors")
    assert "code ran" not in capsys.readouterr().out


def test_refusals_say_what_to_do(files, weights, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"option `weights` is not given.*torchvggish"):
        VGGishOptions()
    with pytest.raises(ValueError, match="`quantise` needs `pca`"):
        VGGishOptions(weights="x.safetensors", quantise=True)
    with pytest.raises(ValueError, match="expected tail drop or pad, got 'keep'"):
        VGGishOptions(weights="x.safetensors", tail="keep")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"vggish: weights: no file at 'nowhere.safetensors'"):
        VGGish.identify(VGGishOptions(weights="nowhere.safetensors"))
    (tmp_path / "vggish.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected a \.safetensors file.*encoders.vggish_weights"):
        VGGish.identify(VGGishOptions(weights=str(tmp_path / "vggish.pth")))
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"Found: other \[2\].*embeddings.0.bias \[4096\]"):
        VGGish(VGGishOptions(weights=str(tmp_path / "other.safetensors")))
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        VGGish(VGGishOptions(weights=str(tmp_path / "torn.safetensors")))


def test_identity_tells_settings_apart(files) -> None:
    base = {"weights": str(files / "port.safetensors")}
    pca = {"pca": str(files / "pca.safetensors")}
    options = [base, base | {"tail": "pad"}, base | pca, base | pca | {"quantise": True}]
    identities = [encoders.identify(EncoderSpec("audio", "vggish", one)) for one in options]
    assert len({identity.digest for identity in identities}) == 4
    assert {identity.dim for identity in identities} == {128}
