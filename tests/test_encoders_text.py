import csv
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import encoders
from encoders import packing
from encoders.base import EncoderSpec
from encoders.media.errors import MediaError, Reason
from encoders.precision import PROBES, passes_gate

# Two ways to say each thing; the pairs share few words.
PARAPHRASES = [
    ("The movie was wonderful.", "I loved that film."),
    ("How do I reset my password?", "I can't log in and need new credentials."),
    ("It is raining heavily today.", "There is a downpour this afternoon."),
    ("The chef prepared a delicious meal.", "The cook made very tasty food."),
    ("Stock prices fell sharply.", "Shares lost a lot of their value."),
    ("The baby is sleeping.", "The infant takes a nap."),
]
WORDS = "the a cat dog sat on mat saw red blue house tree and then it was very small big".split()


def spec(folder, **options):
    return EncoderSpec("text", "transformers", {"model": str(folder), **options})


def encode(encoder, texts):
    return encoder.encode(encoder.prepare(texts))


def sentences(count, longest=60, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest))) for _ in range(count)]


def save(folder, config, longest=64):
    """A tiny random model with a word tokenizer of BERT's kind."""
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = transformers.BertTokenizerFast(
        vocab={word: place for place, word in enumerate(vocabulary)}, model_max_length=longest
    )
    tokenizer.save_pretrained(folder)


def bert(**changes):
    sizes = {
        "vocab_size": 40,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    }
    return transformers.BertConfig(**(sizes | changes))


@pytest.fixture
def tiny(tmp_path):
    save(tmp_path, bert())
    return tmp_path


@pytest.fixture(scope="session")
def minilm(data):
    return data / "weights/hf/all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def questions(data):
    with (data / "text/banking77/banking77.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows[:: len(rows) // PROBES]][:PROBES]


@pytest.fixture(scope="session")
def encoder(minilm):
    return encoders.build(spec(minilm))


def plain(folder, texts, max_length, how="mean"):
    """Pooling by transformers alone, one text at a time, without padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    vectors = []
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.inference_mode():
            (hidden,) = model(**inputs).last_hidden_state
        pooled = {"mean": hidden.mean(0), "max": hidden.max(0).values, "cls": hidden[0]}
        vectors.append(pooled[how].numpy())
    return np.array(vectors)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_minilm_equals_plain_transformers(encoder, minilm, questions):
    texts = [*questions[:20], " ".join(questions[:60])]  # the last one is cut off
    assert encoder.dim == 384
    np.testing.assert_allclose(
        encode(encoder, texts), unit(plain(minilm, texts, max_length=256)), atol=1e-6
    )


def test_the_nearest_of_each_sentence_is_its_paraphrase(encoder):
    left, right = (encode(encoder, list(side)) for side in zip(*PARAPHRASES, strict=True))
    assert (np.argmax(left @ right.T, axis=1) == np.arange(len(PARAPHRASES))).all()


def test_similarity_follows_human_judgement(encoder, data):
    with (data / "text/sts_captions/sts_captions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:200]
    first = encode(encoder, [row["sentence1"] for row in rows])
    second = encode(encoder, [row["sentence2"] for row in rows])
    judged = [float(row["score"]) for row in rows]
    assert np.corrcoef((first * second).sum(1), judged)[0, 1] > 0.7


def test_folder_settings_are_taken(encoder):
    settings = encoder.identity.settings
    assert (settings["max_length"], settings["normalize"], settings["pooling"]) == (
        256,
        True,
        "mean",
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_order_and_lost_items_change_no_bit(minilm, questions, precision):
    encoder = encoders.build(spec(minilm), precision=precision)
    prepared = encoder.prepare(questions[:40])
    vectors = encoder.encode(prepared)
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(encoder.encode([prepared[place] for place in order]), vectors[order])
    lost = [None if place % 3 == 0 else item for place, item in enumerate(prepared)]
    kept = [place for place in range(40) if place % 3]
    encoded = encoder.encode(lost)
    assert np.array_equal(encoded[kept], vectors[kept])
    assert not encoded[::3].any()


def test_bf16_passes_the_gate_on_real_questions(minilm, encoder, questions):
    passed, measured = passes_gate(
        lambda how: encoder if how == "fp32" else encoders.build(spec(minilm), precision=how),
        encoder.prepare(questions),
        "bf16",
    )
    assert passed, measured


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_poolings_equal_plain_transformers(tiny, pooling):
    texts = sentences(9)
    vectors = encode(encoders.build(spec(tiny, pooling=pooling)), texts)
    expected = plain(tiny, texts, max_length=64, how=pooling)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
@pytest.mark.parametrize("architecture", packing.ARCHITECTURES)
def test_texts_side_by_side_equal_plain_transformers(tmp_path, architecture, pooling):
    config = transformers.AutoConfig.for_model(
        architecture, vocab_size=40, hidden_size=32, dim=32, embedding_size=16,
        num_hidden_layers=2, n_layers=2, num_attention_heads=2, n_heads=2, intermediate_size=48,
        hidden_dim=48, max_position_embeddings=402, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    save(tmp_path, config, longest=400)
    encoder = encoders.build(spec(tmp_path, pooling=pooling))
    texts = [*sentences(40), *sentences(2, longest=400, seed=3), " ".join(WORDS * 19)]
    np.testing.assert_allclose(
        encode(encoder, texts), plain(tmp_path, texts, 400, pooling), atol=2e-5
    )


def test_hardly_anything_is_computed_for_padding(encoder, questions):
    computed = []
    hook = encoder.module.model.register_forward_pre_hook(
        lambda module, arguments, named: computed.append(named["input_ids"].numel()),
        with_kwargs=True,
    )
    prepared = encoder.prepare(questions)
    encoder.encode(prepared)
    hook.remove()
    real = sum(encoder.cost(item) for item in prepared)
    assert real <= sum(computed) < 1.02 * real + 512  # the last batch may be half empty


def test_normalize_is_off_without_sentence_transformers_settings(tiny):
    texts = sentences(3)
    free = encode(encoders.build(spec(tiny)), texts)
    assert not np.allclose(np.linalg.norm(free, axis=1), 1)
    normed = encode(encoders.build(spec(tiny, normalize=True)), texts)
    np.testing.assert_allclose(normed, unit(free), atol=1e-6)


def test_long_text_in_chunks_is_the_token_weighted_mean_of_its_chunks(tiny):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    model = transformers.AutoModel.from_pretrained(tiny, dtype=torch.float32).eval()
    texts = [*sentences(3, longest=8), " ".join(sentences(4, longest=40))]
    encoder = encoders.build(spec(tiny, long="chunk", max_length=16))
    vectors = encode(encoder, texts)
    for text, vector in zip(texts, vectors, strict=True):
        words = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))
        total, tokens = torch.zeros(32), 0
        for start in range(0, len(words), 14):
            ids = [tokenizer.cls_token_id, *words[start : start + 14], tokenizer.sep_token_id]
            with torch.inference_mode():
                (hidden,) = model(torch.tensor([ids])).last_hidden_state
            total += hidden.sum(0)
            tokens += len(ids)
        np.testing.assert_allclose(vector, (total / tokens).numpy(), atol=1e-5)
    cut = encode(encoders.build(spec(tiny, max_length=16)), texts)
    assert np.allclose(cut[:3], vectors[:3], atol=1e-6)
    assert not np.allclose(cut[3], vectors[3], atol=1e-3)


def test_a_tokenizer_without_a_rust_side_encodes_but_does_not_split(tmp_path):
    sizes = {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 2,
        "vocab_size": 384,
    }
    torch.manual_seed(0)
    transformers.T5Model(transformers.T5Config(**sizes)).save_pretrained(tmp_path)
    transformers.ByT5Tokenizer(model_max_length=64).save_pretrained(tmp_path)
    texts = [*sentences(3), "x" * 200]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    model = transformers.T5EncoderModel.from_pretrained(tmp_path).eval()
    expected = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            expected.append(model(ids).last_hidden_state[0].mean(0).numpy())
    vectors = encode(encoders.build(spec(tmp_path)), texts)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    with pytest.raises(ValueError, match="long: chunk needs .* got a ByT5Tokenizer"):
        encoders.build(spec(tmp_path, long="chunk"))


@pytest.mark.parametrize("long", ["truncate", "chunk"])
def test_tokens_are_those_of_transformers(minilm, questions, long):
    texts = [*questions[:20], " ".join(questions[:80]), "a"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    cut = {"truncation": True, "max_length": 24, "return_overflowing_tokens": long == "chunk"}
    expected: list[list[list[int]]] = []
    for text in texts:
        ids = tokenizer(text, **cut)["input_ids"]
        expected.append(ids if long == "chunk" else [ids])
    prepared = encoders.build(spec(minilm, long=long, max_length=24)).prepare(texts)
    assert [[piece.values.tolist() for piece in pieces] for pieces in prepared] == expected


def test_module_and_tensors_give_what_encode_gives(tiny):
    encoder = encoders.build(spec(tiny, long="chunk", max_length=16, normalize=True))
    prepared = encoder.prepare(sentences(5))
    assert max(map(len, prepared)) > 1
    vectors = encoder.module(**encoder.tensors(prepared))
    np.testing.assert_allclose(vectors.detach().numpy(), encoder.encode(prepared), atol=1e-6)
    vectors[:, 0].sum().backward()
    assert encoder.module.model.embeddings.word_embeddings.weight.grad.any()


def test_tower_of_clip_gives_the_projected_vector(tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": 40, "max_position_embeddings": 64, "eos_token_id": 3, "pad_token_id": 0}
    config = transformers.CLIPConfig(
        text_config={**sizes, **text, "intermediate_size": 48},
        vision_config={**sizes, "intermediate_size": 48, "image_size": 32, "patch_size": 16},
        projection_dim=24,
    )
    save(tmp_path, config)
    texts = sentences(4, longest=20)
    model = transformers.AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    inputs = tokenizer(texts, padding="max_length", max_length=64, return_tensors="pt")
    inputs.pop("token_type_ids")
    with torch.inference_mode():
        expected = model.get_text_features(**inputs).pooler_output.numpy()
    np.testing.assert_allclose(encode(encoders.build(spec(tmp_path)), texts), expected, atol=1e-5)


def test_encoder_of_a_sequence_to_sequence_model(tmp_path):
    save(
        tmp_path,
        transformers.T5Config(
            vocab_size=40, d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2
        ),
    )
    (vector,) = encode(encoders.build(spec(tmp_path)), ["the cat sat"])
    model = transformers.T5EncoderModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    inputs = transformers.AutoTokenizer.from_pretrained(tmp_path)("the cat sat")["input_ids"]
    with torch.inference_mode():
        expected = model(torch.tensor([inputs])).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_unusable_texts(tiny):
    encoder = encoders.build(spec(tiny))
    with pytest.raises(MediaError) as caught:
        encoder.prepare(["the cat", " \n\t "])
    assert caught.value.reason is Reason.EMPTY
    with pytest.raises(MediaError) as caught:
        encoder.prepare(["half a \ud83d smile"])
    assert caught.value.reason is Reason.BAD_FORMAT


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "avg"}, r"pooling cls \| mean \| max \| pooler, got 'avg'"),
        ({"long": "split"}, r"long: truncate \| chunk, got 'split'"),
        ({"max_length": 2}, "at least 8 tokens, got 2"),
        ({"max_length": 65}, "max_length 65: this model takes at most 64"),
        ({"revision": "main"}, "revision 'main' is for hub ids"),
    ],
)
def test_wrong_options_say_what_is_right(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        encoders.identify(spec(tiny, **options))


def test_identity_changes_with_what_changes_the_vector(tiny):
    def digest(**options):
        return encoders.identify(spec(tiny, **options)).digest

    base = digest()
    options = ({"pooling": "max"}, {"max_length": 32}, {"long": "chunk"}, {"normalize": True})
    assert len({base, *(digest(**option) for option in options)}) == 5
    assert encoders.build(spec(tiny), precision="bf16").identity.digest == base
    weights = load_file(tiny / "model.safetensors")
    weights["embeddings.LayerNorm.bias"] += 1e-3
    save_file(weights, tiny / "model.safetensors", metadata={"format": "pt"})
    assert digest() != base


def test_specs_travel(tiny):
    copy = pickle.loads(pickle.dumps(spec(tiny)))
    assert encoders.identify(copy) == encoders.identify(spec(tiny))


def test_a_folder_that_is_not_there():
    with pytest.raises(ValueError, match=r"'\./nowhere': no such folder"):
        encoders.identify(spec("./nowhere"))


@pytest.mark.parametrize("offline", ["0", "1"])
def test_unknown_model_without_a_network_is_one_sentence(tmp_path, offline):
    """In a process of its own: the hub's client reads these variables when imported."""
    code = (
        "import encoders; from encoders.base import EncoderSpec\n"
        "try: encoders.identify(EncoderSpec('text', 'transformers', {'model': 'nobody/nothing'}))\n"
        "except ValueError as err: print(err)"
    )
    environment = os.environ | {
        "HF_HUB_OFFLINE": offline,
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody listens there
        "HF_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "'nobody/nothing' is neither a local folder nor in the local cache" in done.stdout
    assert "hf download nobody/nothing" in done.stdout
    assert done.stderr == ""
