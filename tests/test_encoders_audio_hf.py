import itertools

import numpy as np
import pytest
import torch
import transformers

import encoders
from encoders.base import EncoderSpec
from encoders.media.errors import MediaError, Reason
from encoders.media.types import Waveform
from encoders.resample import resample

WIDTHS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
CONVOLUTIONS = {
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 8, 4),
    "conv_stride": (5, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
MASKED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
SOUND = {
    "patch_embeds_hidden_size": 8,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "hidden_size": 64,
    "projection_dim": 24,
}


def clap(**fusion):
    text = {**WIDTHS, "vocab_size": 100, "max_position_embeddings": 40}
    sound = SOUND | fusion
    return transformers.ClapConfig(audio_config=sound, text_config=text, projection_dim=24)


def raw(**options):
    return transformers.Wav2Vec2FeatureExtractor(**options)


WHISPER = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# {family: (configuration, feature extractor, default pooling, length, seconds of a window)}
FAMILIES = {
    "ast": lambda: (
        transformers.ASTConfig(**WIDTHS, max_length=64, num_mel_bins=32),
        transformers.ASTFeatureExtractor(max_length=64, num_mel_bins=32),
        ("pooler", 32, 0.655),
    ),
    "wav2vec2": lambda: (
        transformers.Wav2Vec2Config(**WIDTHS, **CONVOLUTIONS),
        raw(return_attention_mask=False),
        ("mean", 32, 10.0),
    ),
    "wav2vec2-masked": lambda: (
        transformers.Wav2Vec2Config(**WIDTHS, **CONVOLUTIONS, **MASKED),
        raw(return_attention_mask=True),
        ("mean", 32, 10.0),
    ),
    "hubert": lambda: (
        transformers.HubertConfig(**WIDTHS, **CONVOLUTIONS),
        raw(return_attention_mask=False),
        ("mean", 32, 10.0),
    ),
    "clap": lambda: (
        clap(),
        transformers.ClapFeatureExtractor(truncation="rand_trunc"),
        ("pooler", 24, 10.0),
    ),
    "clap-fused": lambda: (
        clap(enable_fusion=True, fusion_type="aff_2d"),
        transformers.ClapFeatureExtractor(),
        ("pooler", 24, 10.0),
    ),
    "whisper": lambda: (
        transformers.WhisperConfig(**WHISPER),
        transformers.WhisperFeatureExtractor(),
        ("mean", 32, 30.0),
    ),
}


def save(folder, family):
    config, extractor, expected = FAMILIES[family]()
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    extractor.save_pretrained(folder)
    return expected


def noise(seconds, rate=16000, seed=0):
    samples = 0.1 * np.random.default_rng(seed).normal(size=round(seconds * rate))
    return Waveform(samples.astype(np.float32), rate)


def spec(folder, **options):
    return EncoderSpec("audio", "transformers", {"model": str(folder), **options})


def encode(encoder, items):
    return encoder.encode(encoder.prepare(items))


def plain(folder, samples, pooling):
    """One window through transformers alone."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    if "is_longer" in inputs:  # the extractor picks one at random where none is longer
        inputs["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    give = getattr(model, "get_audio_features", model)
    with torch.inference_mode():
        output = give(**inputs)
    if pooling == "pooler":
        return output.pooler_output[0].numpy()
    return output.last_hidden_state[0].mean(0).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_plain_transformers(family, tmp_path):
    pooling, dim, seconds = save(tmp_path, family)
    encoder = encoders.build(spec(tmp_path))
    settings = encoder.identity.settings
    assert encoder.identity == encoders.identify(spec(tmp_path))
    assert (settings["pooling"], encoder.dim, settings["window"]) == (pooling, dim, seconds)
    rate = settings["rate"]
    for length in (0.3, 0.61):
        sound = noise(length, rate)
        (vector,) = encode(encoder, [sound])
        np.testing.assert_allclose(vector, plain(tmp_path, sound.samples, pooling), atol=1e-5)


@pytest.mark.parametrize("family", ["ast", "wav2vec2", "clap"])
def test_windows_are_averaged_by_duration(family, tmp_path):
    pooling, dim, _ = save(tmp_path, family)
    encoder = encoders.build(spec(tmp_path, window=0.5))
    rate = encoder.identity.settings["rate"]
    sound = noise(1.2, rate)
    expected, total = np.zeros(dim), 0
    for start in range(0, len(sound.samples), rate // 2):
        window = sound.samples[start : start + rate // 2]
        expected += len(window) * plain(tmp_path, window, pooling)
        total += len(window)
    (vector,) = encode(encoder, [sound])
    np.testing.assert_allclose(vector, expected / total, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_and_lost_items_change_no_bit(family, tmp_path):
    save(tmp_path, family)
    encoder = encoders.build(spec(tmp_path))
    prepared = encoder.prepare([noise(s, seed=i) for i, s in enumerate((0.4, 1.5, 0.02, 0.4))])
    vectors = encoder.encode(prepared)
    lost = encoder.encode([prepared[0], None, prepared[2], prepared[3]])
    assert np.array_equal(lost[[0, 2, 3]], vectors[[0, 2, 3]])
    assert not lost[1].any()
    assert np.array_equal(encoder.encode(prepared[::-1]), vectors[::-1])


@pytest.mark.parametrize("family", ["ast", "wav2vec2-masked", "clap"])
def test_module_and_tensors_give_what_encode_gives(family, tmp_path):
    save(tmp_path, family)
    encoder = encoders.build(spec(tmp_path, window=0.5))
    prepared = encoder.prepare([noise(0.3), noise(1.1, seed=1)])
    vectors = encoder.module(**encoder.tensors(prepared)).detach().numpy()
    np.testing.assert_allclose(vectors, encoder.encode(prepared), atol=1e-5)


def test_other_rates_are_resampled(tmp_path):
    save(tmp_path, "wav2vec2")
    encoder = encoders.build(spec(tmp_path))
    sound = noise(0.5, rate=44100)
    expected = plain(tmp_path, resample(sound.samples, 44100, 16000), "mean")
    np.testing.assert_allclose(encode(encoder, [sound])[0], expected, atol=1e-5)


def test_unusable_sounds(tmp_path):
    save(tmp_path, "ast")
    encoder = encoders.build(spec(tmp_path))
    with pytest.raises(MediaError) as caught:
        encoder.prepare([Waveform(np.zeros(0, np.float32), 16000)])
    assert caught.value.reason is Reason.EMPTY
    with pytest.raises(MediaError) as caught:
        encoder.prepare([Waveform(np.array([0, np.nan], np.float32), 16000)])
    assert caught.value.reason is Reason.NON_FINITE


def test_silence_and_a_single_sample_are_finite(tmp_path):
    for family in ("ast", "wav2vec2", "clap"):
        folder = tmp_path / family
        folder.mkdir()
        save(folder, family)
        sounds = [Waveform(np.zeros(length, np.float32), 16000) for length in (1, 9000)]
        assert np.isfinite(encode(encoders.build(spec(folder)), sounds)).all()


def test_a_window_longer_than_the_model_takes_is_refused(tmp_path):
    save(tmp_path, "clap")
    with pytest.raises(ValueError, match=r"window 11\.0: this model takes at most 10\.0 s"):
        encoders.identify(spec(tmp_path, window=11.0))
    with pytest.raises(ValueError, match=r"at least 0\.1 seconds, got 0\.01"):
        encoders.identify(spec(tmp_path, window=0.01))


def test_an_image_model_is_no_audio_encoder(tmp_path):
    config = transformers.ViTConfig(**WIDTHS, image_size=32)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    raw().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="vit is no audio encoder"):
        encoders.identify(spec(tmp_path))


def tone(rate, hertz=440.0, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize(
    ("source", "target"), list(itertools.permutations([8000, 16000, 44100], 2))
)
def test_resampled_tone_is_the_tone_at_the_other_rate(source, target):
    resampled = resample(tone(source), source, target)
    assert len(resampled) == target
    margin = target // 20  # the filter sees silence before and after
    difference = resampled - tone(target)
    assert np.abs(difference[margin:-margin]).max() < 1e-4


def test_resampling_removes_what_the_lower_rate_can_not_hold():
    margin = 1000
    assert np.abs(resample(tone(44100, hertz=12000.0), 44100, 16000)[margin:-margin]).max() < 1e-4


def test_equal_rates_are_untouched():
    samples = tone(16000)
    assert resample(samples, 16000, 16000) is samples


@pytest.mark.parametrize("source", [44101, 7919, 191999, 7])
def test_odd_rates_stay_small_and_nearly_exact(source):
    resampled = resample(tone(source), source, 16000)
    assert len(resampled) == pytest.approx(16000, rel=5e-4)


def test_rates_must_be_positive():
    with pytest.raises(ValueError, match="positive sample rates, got 0 and 16000"):
        resample(tone(100), 0, 16000)
