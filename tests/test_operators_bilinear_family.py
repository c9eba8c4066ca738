"""The product fusions against their formulas in float64 numpy, one record at a time, and each other."""

import itertools
import math

import numpy as np
import pytest
import torch
from patterns import every_pattern, first
from torch.utils._python_dispatch import TorchDispatchMode

import fusion
from fusion.cores import BUDGET
from learning.numerics import signed_sqrt

# Signed square roots magnify rounding near zero: wide enough that no whole block lies there in bfloat16.
CASES = [
    ("mlb", {"dim": 6, "hidden": 16}),
    ("mfb", {"dim": 48, "pool": 3}),
    ("mfb", {"dim": 6, "pool": 1, "normalise": False}),
    ("mfh", {"dim": 64, "order": 2, "pool": 3}),
    ("mfh", {"dim": 96, "order": 3, "pool": 3}),
    ("tucker", {"dim": 6, "hidden": 5}),
    ("mutan", {"dim": 6, "hidden": 5, "rank": 3}),
    ("block", {"dim": 6, "chunks": 3, "size": 16, "rank": 3}),
    ("block", {"dim": 6, "chunks": 2, "size": 4, "rank": 2, "normalise": False}),
    ("block-tucker", {"dim": 6, "chunks": 2, "size": 8}),
]
FAMILY = sorted({name for name, _ in CASES})


def build(name, dims, seed=0, **options):
    """With inputs that are not standard already."""
    torch.manual_seed(seed)
    model = fusion.build(name, dims, **options).eval()
    for feature, size in dims.items():
        model.scaling[feature].adopt(torch.randn(size) * 0.5, torch.rand(size) + 0.5)
    return model


def f64(tensor):
    return tensor.detach().double().numpy()


def affine(linear, x):
    return f64(linear.weight) @ x + f64(linear.bias)


def power(vector):
    root = np.sign(vector) * np.abs(vector) / np.sqrt(np.abs(vector) + 1e-6)
    return root / max(np.linalg.norm(root), 1e-300) * math.sqrt(len(root))


def pool(vector, k):
    return np.array([sum(vector[start : start + k]) for start in range(0, len(vector), k)])


def projections(model, record):
    """z_m of one record ({feature: vector}, absent ones left out): ones where absent."""
    z = {}
    for name in sorted(model.dims):
        width = model.factors[name].out_features
        z[name] = np.ones(width)
        if name in record:
            scaling = model.scaling[name]
            x = (record[name] - f64(scaling.mean)) / f64(scaling.deviation)
            z[name] = affine(model.factors[name], x)
            if "MLB" in str(type(model)):
                z[name] = 5 / 3 * np.tanh(z[name])
    return z


def full_core(core, parts):
    """T x_1 z_1 ... x_M z_M: every weight times the one product of inputs it stands for."""
    outer = np.ones(1)
    for z in parts:
        outer = np.outer(outer, z).ravel()
    return outer @ core.reshape(len(outer), -1)


def rank_core(slices, parts, rank):
    size = len(parts[0])
    products = [
        np.prod(
            [s[:, r * size : (r + 1) * size].T @ z for s, z in zip(slices, parts, strict=True)], 0
        )
        for r in range(rank)
    ]
    return sum(products)


def formula(name, model, record):
    options = model.options
    z = projections(model, record)
    if name == "mlb":
        return affine(model.output, np.prod(list(z.values()), axis=0))
    if name == "mfb":
        pooled = pool(np.prod(list(z.values()), axis=0), options.pool)
        return power(pooled) if options.normalise else pooled
    if name == "mfh":
        wide = np.split(np.prod(list(z.values()), axis=0), options.order)
        cascade = [np.prod(wide[: i + 1], axis=0) for i in range(options.order)]
        return np.concatenate([power(pool(block, options.pool)) for block in cascade])
    chunks = getattr(options, "chunks", 1)
    outputs = []
    for c in range(chunks):
        parts = [np.split(vector, chunks)[c] for vector in z.values()]
        if name in ("tucker", "block-tucker"):
            y = full_core(f64(model.core.weight)[c], parts)
        else:
            slices = [f64(model.core.slices[n])[c] for n in sorted(model.dims)]
            y = rank_core(slices, parts, options.rank)
        outputs.append(power(y) if getattr(options, "normalise", False) else y)
    return affine(model.output, np.concatenate(outputs))


def each(features, present):
    """The records of a batch, float64, without what is absent."""
    for i in range(len(next(iter(present.values())))):
        yield {n: f64(features[n][i]) for n in features if present[n][i]}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_pattern_equals_the_formula(name, options, count, dtype, tolerance):
    """Property c, norm-wise over a batch of all patterns."""
    dims = first(count)
    model = build(name, dims, **options).to(dtype)
    features, present = every_pattern(dims, repeat=max(1, 16 >> count), dtype=dtype)
    got = model(features, present).vector
    assert got.dtype == dtype
    expected = np.stack([formula(name, model, record) for record in each(features, present)])
    assert np.linalg.norm(f64(got) - expected) <= tolerance * np.linalg.norm(expected)


def twin(source, name, dims, **options):
    """Another operator with the same scaling, factors and output as `source`."""
    model = build(name, dims, seed=99, **options)
    shared = {k: t for k, t in source.state_dict().items() if not k.startswith("core.")}
    model.load_state_dict(shared, strict=False)
    return model


def assert_same(one, other, dims):
    features, present = every_pattern(dims, repeat=4)
    vectors = [model(features, present).vector for model in (one, other)]
    torch.testing.assert_close(*vectors, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_tucker_is_mutan_of_full_rank(count):
    """One product for every combination of inputs: z_1i z_2j ... times the row of the core there."""
    dims, size = first(count), 3
    tucker = build("tucker", dims, dim=6, hidden=size)
    rank = size**count
    mutan = twin(tucker, "mutan", dims, dim=6, hidden=size, rank=rank)
    rows = tucker.core.weight.detach().reshape(rank, size)
    for m, name in enumerate(sorted(dims)):
        slices = torch.zeros(size, rank, size)
        for r, index in enumerate(itertools.product(range(size), repeat=count)):
            slices[index[m], r] = rows[r] if m == 0 else 1.0
        mutan.core.slices[name].data = slices.reshape(1, size, rank * size)
    assert_same(tucker, mutan, dims)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_block_with_one_chunk_is_tucker_or_mutan(count):
    dims = first(count)
    for name, of_one, options in (("tucker", "block-tucker", {}), ("mutan", "block", {"rank": 3})):
        model = build(name, dims, dim=6, hidden=4, **options)
        block = twin(model, of_one, dims, dim=6, chunks=1, size=4, normalise=False, **options)
        block.load_state_dict(model.state_dict())
        assert_same(model, block, dims)


@pytest.mark.parametrize("count", [2, 3])
def test_block_is_tucker_with_a_block_superdiagonal_core(count):
    dims, chunks, size = first(count), 2, 3
    block = build("block-tucker", dims, dim=6, chunks=chunks, size=size, normalise=False)
    tucker = twin(block, "tucker", dims, dim=6, hidden=chunks * size)
    core = torch.zeros([chunks * size] * (count + 1))
    for c in range(chunks):
        place = (slice(c * size, (c + 1) * size),) * (count + 1)
        core[place] = block.core.weight[c].detach().reshape([size] * (count + 1))
    tucker.core.weight.data = core.reshape(tucker.core.weight.shape)
    assert_same(block, tucker, dims)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_mfh_of_one_block_is_mfb(count):
    dims = first(count)
    mfb = build("mfb", dims, dim=6, pool=3)
    mfh = build("mfh", dims, dim=6, pool=3, order=1)
    mfh.load_state_dict(mfb.state_dict())
    assert_same(mfb, mfh, dims)


def test_mlb_of_small_inputs_is_mfb_of_rank_one():
    """tanh is the identity near zero; what is left is the product."""
    dims = first(3)
    mfb = build("mfb", dims, dim=6, pool=1, normalise=False)
    mlb = build("mlb", dims, dim=6, hidden=6)
    small = 1e-3
    for name in dims:
        for key in ("weight", "bias"):
            getattr(mlb.factors[name], key).data = getattr(mfb.factors[name], key) * small * 3 / 5
    mlb.scaling.load_state_dict(mfb.scaling.state_dict())
    mlb.output.weight.data = torch.eye(6) / small**3
    mlb.output.bias.data.zero_()
    features, _ = every_pattern(dims)
    everything = {n: torch.ones(8, dtype=torch.bool) for n in dims}
    vectors = [m(features, everything).vector for m in (mlb, mfb)]
    torch.testing.assert_close(*vectors, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 4, 6])
@pytest.mark.parametrize("name", FAMILY)
def test_vectors_start_at_unit_scale_whatever_is_there(name, count):
    dims = {f"feature {i}": 64 + i for i in range(count)}
    torch.manual_seed(0)
    model = fusion.build(name, dims)
    rows = 512
    features = {n: torch.randn(rows, d) for n, d in dims.items()}
    for share in (1.0, 0.5):
        present = {n: torch.rand(rows) < share for n in dims}
        vector = model(features, present).vector.detach()
        assert 0.3 < float(vector.square().mean().sqrt()) < 1.5
        assert float(vector.std(dim=0).mean()) > 0.2, "records must differ"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("name", FAMILY)
def test_default_sizes_stay_small_for_many_features(name, count):
    dims = {f"feature {i}": 1024 for i in range(count)}
    cost = fusion.describe(name, dims, batch=256)
    assert cost.parameters < count * 1024 * 1000 + 2 * BUDGET
    assert cost.peak_bytes < 500e6


def test_all_chunks_are_one_piece_of_work():
    """As many operations for 16 chunks as for 2: none of them is a loop."""

    class Count(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.operations = 0

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            self.operations += 1
            return operation(*args, **(kwargs or {}))

    dims = first(3)
    for name in ("block", "block-tucker"):
        counts = []
        for chunks in (2, 16):
            model = build(name, dims, dim=6, chunks=chunks, size=4)
            with Count() as count:
                model(*every_pattern(dims)).vector.sum().backward()
            counts.append(count.operations)
        assert counts[0] == counts[1]


def test_signed_square_root():
    values = torch.tensor([-4.0, -1e-12, 0.0, 1e-12, 9.0], requires_grad=True)
    roots = signed_sqrt(values)
    torch.testing.assert_close(
        roots, torch.tensor([-2.0, 0.0, 0.0, 0.0, 3.0]), atol=1e-6, rtol=1e-6
    )
    roots.sum().backward()
    assert torch.isfinite(values.grad).all()
    assert values.grad[2] == pytest.approx(1000)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mlb", {"hidden": 0}, "hidden: expected a whole number of at least 1, got 0"),
        ("tucker", {"hidden": -1}, "hidden: expected a whole number of at least 1, got -1"),
        ("mfh", {"dim": 9, "order": 2}, r"dim: expected a multiple of order \(2\), got 9"),
    ],
)
def test_options_that_make_no_sense(name, options, said):
    with pytest.raises(ValueError, match=said):
        fusion.build(name, first(2), **options)
