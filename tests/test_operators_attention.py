"""MBT and cross-attention against float64 numpy that computes record by record, without any mask.

The reference never sees an absent feature or step: it leaves them out, where the operators mask them.
"""

import math

import numpy as np
import pytest
import torch
from patterns import every_pattern, first, spoil

import fusion
from fusion.batch import Batch
from fusion.tokens import positions
from learning.reduce import reduce

SIZES = {"dim": 6, "width": 16, "heads": 4}
CASES = [
    ("mbt", {**SIZES, "tokens": 1}),
    ("mbt", {**SIZES, "tokens": 2, "bottleneck": 2}),
    ("cross-attention", {**SIZES, "tokens": 1}),
    ("cross-attention", {**SIZES, "layers": 1, "tokens": 3}),
]
NAMES = ["mbt", "cross-attention"]
STEPS = 5


def build(name, dims, seed=0, **options):
    """With inputs that are not standard already, and norms that are not the identity."""
    torch.manual_seed(seed)
    model = fusion.build(name, dims, **options).eval()
    for feature, size in dims.items():
        model.scaling[feature].adopt(torch.randn(size) * 0.5, torch.rand(size) + 0.5)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
    return model


def sequences(dims, repeat, dtype=torch.float32):
    """Every presence pattern; the features at even places are sequences with random gaps."""
    features, present = every_pattern(dims, repeat, dtype=dtype)
    generator = torch.Generator().manual_seed(8)
    for name in list(dims)[::2]:
        rows = len(features[name])
        steps = torch.randn(rows, STEPS, dims[name], generator=generator)
        features[name] = steps.to(dtype)
        gaps = torch.rand(rows, STEPS, generator=generator) < 0.6
        present[name] = gaps & present[name][:, None]
    return features, present


def f64(tensor):
    return tensor.detach().double().numpy()


def affine(linear, x):
    bias = 0 if linear.bias is None else f64(linear.bias)
    return x @ f64(linear.weight).T + bias


def normed(norm, x):
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps)
    return centred / spread * f64(norm.weight) + f64(norm.bias)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def layer(module, tokens, context):
    """A transformer layer; head by head, and with the token of nothing written out."""
    attention = module.attention
    if attention is not None:
        query = affine(attention.query, normed(attention.norm, tokens))
        both = affine(attention.key_value, normed(attention.norm, context))
        both = np.concatenate([both, np.zeros((1, both.shape[1]))])
        key, value = np.split(both, 2, axis=1)
        heads = []
        for q, k, v in zip(
            *(np.split(x, attention.heads, axis=1) for x in (query, key, value)), strict=True
        ):
            scores = np.exp(q @ k.T / math.sqrt(q.shape[1]))
            heads.append(scores / scores.sum(1, keepdims=True) @ v)
        tokens = tokens + affine(attention.output, np.concatenate(heads, axis=1))
    norm, inner, _, outer = module.feed_forward
    return tokens + affine(outer, gelu(affine(inner, normed(norm, tokens))))


def tokens_of(model, record):
    """{feature: (steps, N W)} of one record: {feature: [(number of the step, vector), ...]}."""
    width, count = model.options.width, model.options.tokens
    rates = 10_000.0 ** (-np.arange(width // 2) / (width // 2))
    found = {}
    for name, steps in record.items():
        rows = []
        for number, vector in steps:
            x = (vector - f64(model.scaling[name].mean)) / f64(model.scaling[name].deviation)
            place = np.concatenate([np.sin(number * rates), np.cos(number * rates) - 1])
            rows.append(affine(model.tokens.projection[name], x) + np.tile(place, count))
        found[name] = np.stack(rows)
    return found


def mbt(model, record):
    width = model.options.width
    own = {
        n: np.concatenate([f64(model.summary[n]), x.reshape(-1, width)])
        for n, x in tokens_of(model, record).items()
    }
    shared = f64(model.bottleneck)
    for number in range(model.options.layers):
        written = []
        for name in own:
            joint = np.concatenate([own[name], shared])
            joint = layer(model.stacks[name][number], joint, joint)
            own[name], out = np.split(joint, [len(own[name])])
            written.append(out)
        shared = np.mean(written, axis=0)
    norm, linear = model.output
    return np.mean([affine(linear, normed(norm, x[0])) for x in own.values()], axis=0)


def cross_attention(model, record):
    width = model.options.width
    steps = tokens_of(model, record)
    outputs = []
    for name, x in steps.items():
        others = [y.reshape(-1, width) for n, y in steps.items() if n != name]
        context = np.concatenate([np.zeros((0, width)), *others])
        own = x.reshape(-1, width)
        for module in model.stacks[name]:
            own = layer(module, own, context)
        norm, linear = model.output[name]
        outputs.append(affine(linear, normed(norm, own.reshape(x.shape).mean(0))))
    return np.mean(outputs, axis=0)


def formula(name, model, record):
    if not record:
        return np.zeros(model.dim)
    return {"mbt": mbt, "cross-attention": cross_attention}[name](model, record)


def each(features, present):
    """The records of a batch: {feature: [(step, vector), ...]} of what is there."""
    for i in range(len(next(iter(present.values())))):
        record = {}
        for name, x in features.items():
            steps, there = (x[i], present[name][i]) if x.dim() == 3 else (x[i : i + 1], None)
            there = present[name][i : i + 1] if there is None else there
            kept = [(t, f64(steps[t])) for t in range(len(there)) if there[t]]
            if kept:
                record[name] = kept
        yield record


@pytest.mark.parametrize("make", [every_pattern, sequences])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_pattern_equals_the_formula(name, options, count, dtype, tolerance, make):
    """Property c, norm-wise over a batch of all patterns."""
    dims = first(count)
    model = build(name, dims, **options).to(dtype)
    features, present = make(dims, max(1, 16 >> count), dtype=dtype)
    got = model(features, present).vector
    assert got.dtype == dtype
    expected = np.stack([formula(name, model, record) for record in each(features, present)])
    assert np.linalg.norm(f64(got) - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_what_it_holds_do_not_matter(name):
    dims = first(3)
    model = build(name, dims, **SIZES)
    features, present = sequences(dims, 4)
    expected = model(features, present).vector
    padded, longer = dict(features), dict(present)
    for feature in features:
        if features[feature].dim() == 3:
            padded[feature] = torch.nn.functional.pad(features[feature], (0, 0, 0, 7))
            longer[feature] = torch.nn.functional.pad(present[feature], (0, 7), value=False)
    for filler in (0.0, float("nan"), 1e30):
        vector = model(spoil(padded, longer, filler), longer).vector
        torch.testing.assert_close(vector, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_steps_have_an_order_and_gaps_keep_it(name):
    dims = {"video": 4, "text": 3}
    model = build(name, dims, **SIZES)
    features = {"video": torch.randn(1, 3, 4), "text": torch.randn(1, 3)}
    everything = {"video": torch.ones(1, 3, dtype=torch.bool), "text": torch.tensor([True])}
    turned = {**features, "video": features["video"].flip(1)}
    one, other = (model(f, everything).vector for f in (features, turned))
    assert not torch.allclose(one, other, atol=1e-3)
    late = torch.tensor([[False, True, True]])
    moved = {**features, "video": features["video"][:, 1:]}
    gap = model(features, {**everything, "video": late}).vector
    shifted = model(moved, {**everything, "video": late[:, 1:]}).vector
    assert not torch.allclose(gap, shifted, atol=1e-3)


def test_a_vector_is_a_sequence_that_begins_where_it_ends():
    places = positions(50, 16)
    assert places.shape == (50, 16)
    assert not places[0].any()
    assert len(torch.unique(places, dim=0)) == 50
    assert positions(3, 7).shape == (3, 7)


@pytest.mark.parametrize("name", NAMES)
def test_features_do_meet(name):
    """The mixed difference of two features is zero for anything that only adds up what each says."""
    dims = first(2)
    model = build(name, dims, **SIZES)
    a, b = dims
    torch.manual_seed(3)
    x = {n: torch.randn(2, d) for n, d in dims.items()}
    there = {n: torch.ones(4, dtype=torch.bool) for n in dims}
    four = {a: x[a][[0, 1, 0, 1]], b: x[b][[0, 0, 1, 1]]}
    v = model(four, there).vector
    assert float((v[0] - v[1] - v[2] + v[3]).detach().norm()) > 1e-3  # rounding: 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_is_lost_where_nobody_answers(name):
    """A feature on its own asks a context of masked tokens only."""
    dims = first(3)
    model = build(name, dims, **SIZES)
    features, _ = every_pattern(dims)
    alone = {n: torch.full((8,), n == next(iter(dims))) for n in dims}
    leaves = {n: x.requires_grad_() for n, x in features.items()}
    model(leaves, alone).vector.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert leaves[next(iter(dims))].grad.any()
    assert not any(leaves[n].grad.any() for n in list(dims)[1:])


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_standardised_by_the_spread_of_steps(name):
    dims = {"video": 4}
    torch.manual_seed(0)
    steps = torch.randn(200, 6, 4) * 3 + 2
    mask = torch.rand(200, 6) < 0.5
    model = fusion.build(name, dims)
    batch = Batch({"video": torch.where(mask[..., None], steps, torch.nan)}, {"video": mask})
    for reduction in model.reductions():
        reduce(reduction, [batch.rows(torch.arange(50)), batch.rows(torch.arange(50, 200))])
    scaling = model.scaling["video"]
    torch.testing.assert_close(scaling.mean, steps[mask].mean(0))
    torch.testing.assert_close(scaling.deviation, steps[mask].std(0, correction=0))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mbt", {"layers": 1}, "layers: expected at least 2"),
        ("mbt", {"width": 30, "heads": 4}, r"width: expected a multiple of heads \(4\), got 30"),
        ("cross-attention", {"tokens": 0}, "tokens: expected a whole number of at least 1, got 0"),
    ],
)
def test_options_that_make_no_sense(name, options, said):
    with pytest.raises(ValueError, match=said):
        fusion.build(name, first(2), **options)
