"""Linear, gated, multiplicative and tensor operators against their formulas, written out in float64 numpy.

A reference sees one record at a time and only the features that are there. Property c.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from patterns import DIMS, every_pattern, first

import fusion
from fusion.batch import Batch
from fusion.sketch import CountSketch, sketch_of_product
from learning.reduce import reduce


def array(tensor):
    return tensor.detach().double().numpy()


def affine(layer, x):
    result = array(layer.weight) @ x
    return result if layer.bias is None else result + array(layer.bias)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def signed_root(x, epsilon):
    return x / np.sqrt(np.abs(x) + epsilon)


def sum_(model, x):
    return sum(affine(model.projection[m], x[m]) for m in x) / max(len(x), 1)


def attention_sum(model, x):
    scores = [
        array(model.bias[m])[0] + sum(affine(model.score[m][n], x[n])[0] for n in x) for m in x
    ]
    weights = np.exp(scores) / np.exp(scores).sum()
    return sum(a * affine(model.projection[m], x[m]) for a, m in zip(weights, x, strict=True))


def deep_set(model, x):
    def layers(net, v):
        return affine(net[2], np.maximum(affine(net[0], v), 0))

    pool = np.zeros(model.options.hidden)
    for m in x:
        pool += layers(model.encode[m], x[m]) / len(x)
    return layers(model.transform, pool)


def gmu(model, x):
    gates = {
        m: sigmoid(array(model.bias[m]) + sum(affine(model.gate[m][n], x[n]) for n in x)) for m in x
    }
    mixed = sum(gates[m] * np.tanh(affine(model.hidden[m], x[m])) for m in x)
    return mixed / sum(gates.values()) if x else mixed


def embracenet(model, x):
    return sum(np.maximum(affine(model.docking[m], x[m]), 0) for m in x) / max(len(x), 1)


def film(model, x):
    total = 0.0
    for m in x:
        term = affine(model.shift[m], x[m])
        if m == model.target:
            others = [n for n in x if n != m]
            term = term * (1 + sum(affine(model.scale[n], x[n]) for n in others))
        total = total + term
    return total


def multiplicative_matrix(model, x):
    total = sum(affine(model.linear[m], x[m]) for m in x)
    for m in set(x) - {model.target} if model.target in x else ():
        weight = array(model.form[m].weight)
        total = total + np.array([x[m] @ w @ x[model.target] for w in weight])
    return total


def bilinear(model, x):
    total = sum(affine(model.linear[m], x[m]) for m in x)
    for m, n in itertools.combinations(sorted(x), 2):
        total = total + np.array([x[m] @ w @ x[n] for w in array(model.form[m][n].weight)])
    return total


def tfn(model, x):
    outer = np.ones(1)
    for m in sorted(model.dims):
        size = model.project[m].out_features if model.project else model.dims[m]
        z = np.zeros(size)
        if m in x:
            z = affine(model.project[m], x[m]) if model.project else x[m]
        outer = np.multiply.outer(outer, np.concatenate([[1.0], z])).ravel()
    return affine(model.output, outer)


def lmf(model, x):
    total = array(model.bias).copy()
    for r, weight in enumerate(array(model.weight)):
        own = slice(r * model.dim, (r + 1) * model.dim)
        term = np.full(model.dim, weight)
        for m in model.dims:
            matrix, constant = (
                array(model.factors[m].weight)[own],
                array(model.factors[m].bias)[own],
            )
            term = term * (matrix @ x[m] + constant if m in x else constant)
        total += term
    return total


def compact_bilinear(model, x):
    size = model.options.sketch
    result = np.eye(1, size)[0]
    for m in x:
        one = np.eye(1, size)[0]
        for value, bucket, sign in zip(
            x[m], array(model.sketch[m].bucket), array(model.sketch[m].sign), strict=True
        ):
            one[int(bucket)] += sign * value / math.sqrt(len(x[m]))
        shifted = np.array([np.roll(result[::-1], k + 1) for k in range(size)])
        result = shifted @ one  # a circular convolution by its definition
    result = result * math.sqrt(size)
    if model.options.signed_sqrt:
        result = signed_root(result, 0.1)
    if model.options.normalise:
        result = result / np.linalg.norm(result) * math.sqrt(size)
    return affine(model.output, result)


CASES = [
    ("sum", {}, sum_),
    ("attention-sum", {}, attention_sum),
    ("deep-set", {"hidden": 7}, deep_set),
    ("gmu", {}, gmu),
    ("embracenet", {}, embracenet),
    ("film", {}, film),
    ("film", {"target": "type"}, film),
    ("multiplicative-matrix", {}, multiplicative_matrix),
    ("multiplicative-matrix", {"target": "type"}, multiplicative_matrix),
    ("bilinear", {}, bilinear),
    ("tfn", {"inner": 3}, tfn),
    ("tfn", {"inner": 0}, tfn),
    ("lmf", {"rank": 3}, lmf),
    ("compact-bilinear", {"sketch": 64}, compact_bilinear),
    ("compact-bilinear", {"sketch": 64, "normalise": False}, compact_bilinear),
    (
        "compact-bilinear",
        {"sketch": 64, "signed_sqrt": False, "normalise": False},
        compact_bilinear,
    ),
]


def trained(name, dims, options):
    """With scalings of its own, and no weight at a value that would hide a mistake."""
    torch.manual_seed(0)
    model = fusion.build(name, dims, dim=6, **options).eval()
    features, present = every_pattern(dims, repeat=16, seed=9)
    for reduction in model.reductions():
        reduce(reduction, [Batch({n: 1 + 3 * x for n, x in features.items()}, present)])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("name", "options", "formula"), CASES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=str
)
def test_every_presence_pattern_equals_the_formula(name, options, formula, count, dtype, tolerance):
    dims = first(count)
    if options.get("target") not in {None, *dims}:
        pytest.skip("no such target")
    model = trained(name, dims, options).to(dtype)
    features, present = every_pattern(dims, repeat=8, dtype=dtype)
    got = array(model(features, present).vector)
    for pattern in itertools.product([False, True], repeat=count):
        chosen = dict(zip(dims, pattern, strict=True))
        rows = [i for i in range(len(got)) if all(present[m][i] == chosen[m] for m in dims)]
        expected = []
        for i in rows:
            x = {
                m: (array(features[m][i]) - array(model.scaling[m].mean))
                / array(model.scaling[m].deviation)
                for m in sorted(dims)
                if chosen[m]
            }
            expected.append(np.broadcast_to(formula(model, x), model.dim))
        error = np.linalg.norm(got[rows] - expected)
        assert error <= tolerance * np.linalg.norm(expected), chosen


def test_low_rank_fusion_with_full_factors_is_tensor_fusion():
    """Property i: a tensor is the sum over all but its last indices of unit vectors times its fibres."""
    dims = first(3)
    sizes = [dims[name] + 1 for name in sorted(dims)]
    torch.manual_seed(0)
    full = fusion.build("tfn", dims, dim=5, inner=0)
    tensor = full.output.weight.detach().reshape(5, *sizes)
    rank = math.prod(sizes[:-1])
    low = fusion.build("lmf", dims, dim=5, rank=rank)
    indices = list(itertools.product(*(range(size) for size in sizes[:-1])))
    factors = {name: torch.zeros(rank, 5, dims[name] + 1) for name in sorted(dims)}
    *early, last = sorted(dims)
    for r, index in enumerate(indices):
        for name, i in zip(early, index, strict=True):
            factors[name][r, :, i] = 1
        factors[last][r] = tensor[(slice(None), *index)]
    with torch.no_grad():
        for name, factor in factors.items():
            low.factors[name].bias.copy_(factor[..., 0].flatten())
            low.factors[name].weight.copy_(factor[..., 1:].flatten(0, 1))
        low.weight.fill_(1)
        low.bias.copy_(full.output.bias)
    batch = every_pattern(dims, repeat=4)
    torch.testing.assert_close(low(*batch).vector, full(*batch).vector, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_products_start_at_unit_scale_however_many_features(count):
    torch.manual_seed(0)
    model = fusion.build("lmf", {f"f{i}": 32 for i in range(count)}, dim=256)
    features = {name: torch.randn(2000, 32) for name in model.dims}
    present = {name: torch.ones(2000, dtype=torch.bool) for name in model.dims}
    assert 0.7 < float(model(features, present).vector.detach().std()) < 1.4


@pytest.mark.parametrize(("same", "low", "high"), [(True, 2.2, 2.8), (False, 0.9, 1.1)])
def test_inner_products_of_sketches_are_those_of_outer_products(same, low, high):
    """Property j, over 2,000 hashes. Of the spectra alone: S_1 x * S_2 x'."""
    size, draws = 256, 2000
    torch.manual_seed(0)
    x, x2, y, y2 = torch.nn.functional.normalize(torch.randn(4, 64, dtype=torch.float64))
    if same:
        y, y2 = x, x2
    found = []
    for _ in range(draws):
        one, two = (
            torch.fft.rfft(CountSketch(64, size)(torch.stack(p))) for p in ((x, y), (x2, y2))
        )
        pooled = torch.fft.irfft(one * two, n=size)
        found.append(float(pooled[0] @ pooled[1]))
    expected = float((x @ y) * (x2 @ y2))
    deviation = np.std(found, ddof=1)
    assert abs(np.mean(found) - expected) < 4 * deviation / math.sqrt(draws)
    assert low < deviation * math.sqrt(size) < high


def test_the_fixed_hash_of_the_one_keeps_inner_products_unbiased():
    draws = 2000
    torch.manual_seed(0)
    x, x2, y, y2 = torch.nn.functional.normalize(torch.randn(4, 64, dtype=torch.float64))
    found = []
    for _ in range(draws):
        rows = [CountSketch(64, 256)(torch.stack(pair)) for pair in ((x, y), (x2, y2))]
        pooled = sketch_of_product(rows)
        found.append(float(pooled[0] @ pooled[1]))
    expected = float((1 + x @ y) * (1 + x2 @ y2))
    assert abs(np.mean(found) - expected) < 4 * np.std(found, ddof=1) / math.sqrt(draws)


def test_a_sketch_is_small_and_kept_in_float_precision_under_autocast():
    torch.manual_seed(0)
    model = fusion.build("compact-bilinear", {"image": 2048, "text": 768}).eval()
    state = sum(t.numel() * t.element_size() for t in model.sketch.state_dict().values())
    assert state <= 64 * 1024
    features = {name: torch.randn(8, size) for name, size in model.dims.items()}
    present = {name: torch.ones(8, dtype=torch.bool) for name in model.dims}
    exact = model(features, present).vector
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(features, present).vector
    assert float((rough - exact).detach().norm() / exact.detach().norm()) < 1e-2


def test_embracenet_draws_evenly_among_the_present_only_while_training():
    torch.manual_seed(0)
    model = fusion.build("embracenet", DIMS, dim=4096)
    with torch.no_grad():
        for number, name in enumerate(model.docking):
            model.docking[name].weight.zero_()
            model.docking[name].bias.fill_(10.0**number)
    features, present = every_pattern(DIMS)
    there = torch.stack([present[name] for name in sorted(DIMS)], dim=1)
    drawn = model(features, present).vector.detach()
    for row, mask in zip(drawn, there, strict=True):
        shares = torch.stack([(row == 10.0**n).double().mean() for n in range(len(DIMS))])
        expected = mask.double() / max(int(mask.sum()), 1)
        assert (shares[~mask] == 0).all()
        torch.testing.assert_close(shares, expected, rtol=0, atol=0.04)
    assert not torch.equal(model(features, present).vector, drawn)
    model.eval()
    assert torch.equal(model(features, present).vector, model(features, present).vector)


@pytest.mark.parametrize("name", ["film", "multiplicative-matrix"])
def test_an_unknown_target_is_named(name):
    with pytest.raises(ValueError, match="target: unknown feature 'smell'; there are: type, video"):
        fusion.build(name, first(2), target="smell")
