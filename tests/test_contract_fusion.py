"""What every fusion in the table promises, with its objective. A new line in FUSIONS is tested by itself."""

import dataclasses
import inspect
import json
import pickle
import re

import pytest
import torch
from patterns import CLASSES, every_pattern, first, options_of, spoil
from safetensors.torch import load_file, save_file

import fusion
from fusion import objectives
from fusion.batch import Batch, MemoryFeed
from fusion.learner import train
from learning.loop import Recipe
from learning.reduce import reduce

# Small batches are what is wanted here.
pytestmark = pytest.mark.filterwarnings("ignore:.*only the ridge:RuntimeWarning")

COUNTS = [1, 2, 3, 4]
NAMES = sorted(fusion.FUSIONS)
TRAINED = [name for name in NAMES if fusion.FUSIONS[name].objective is not None]
CASES = [(name, count) for name in NAMES for count in COUNTS]


def build(name, dims, seed=0):
    """A fusion with fresh weights; a number of features it refuses by name skips the test."""
    torch.manual_seed(seed)
    try:
        return fusion.build(name, dims, **options_of(fusion.options_type(name)))
    except ValueError as error:
        if len(dims) == 2 or not re.search(r"features?\b", str(error)):
            raise
        pytest.skip(str(error))


def objective_of(name, model, seed=1):
    torch.manual_seed(seed)
    chosen = fusion.FUSIONS[name].objective
    if chosen is None:
        pytest.skip(f"{name} has nothing to train")
    return objectives.build(chosen, model, **options_of(objectives.target(chosen).Options))


def records(dims, repeat=None, seed=0):
    """Every presence pattern, 64 records of them unless said otherwise."""
    features, present = every_pattern(dims, repeat or 64 >> len(dims), seed)
    rows = len(next(iter(present.values())))
    return Batch(features, present, torch.arange(rows) % CLASSES)


def fitted(name, dims, batch=None, seed=0):
    """After its reductions, in evaluation mode: what a run uses."""
    model = build(name, dims, seed)
    for reduction in model.reductions():
        reduce(reduction, [batch or records(dims, repeat=32, seed=7)])
    return model.eval()


def everything(name, model, objective, batch):
    """{what: tensor} of outputs, losses and all gradients, those of the features included."""
    torch.manual_seed(3)
    model.zero_grad(set_to_none=True)
    leaves = {n: x.clone().requires_grad_() for n, x in batch.features.items()}
    output = model(leaves, batch.present)
    found = {
        f.name: getattr(output, f.name)
        for f in dataclasses.fields(output)
        if isinstance(getattr(output, f.name), torch.Tensor)
    }
    found |= {f"view {n}": view for n, view in output.views.items()}
    total = (output.vector * torch.linspace(-1, 1, model.dim)).sum()
    if objective is not None:
        objective.zero_grad(set_to_none=True)
        losses = objective.losses(model, leaves, batch.present, batch.targets)
        found |= {f"loss {n}": loss for n, loss in losses.items()}
        total = total + sum(losses.values())
    if total.requires_grad:
        total.backward()
    for module in filter(None, (model, objective)):
        found |= {f"grad {n}": p.grad for n, p in module.named_parameters() if p.grad is not None}
    found |= {f"grad of feature {n}": x.grad for n, x in leaves.items() if x.grad is not None}
    return {key: tensor.detach().clone() for key, tensor in found.items()}


def assert_identical(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def assert_finite(found):
    for key, tensor in found.items():
        assert torch.isfinite(tensor).all(), key


@pytest.mark.parametrize("name", NAMES)
def test_the_table_and_the_docstring_say_what_a_user_must_know(name):
    entry = fusion.FUSIONS[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert entry.needs <= {"labels", "sequences"}
    assert entry.objective is None or entry.objective in objectives.OBJECTIVES
    model = build(name, first(2))
    assert ("sequences" in entry.needs) == model.takes_sequences
    doc = inspect.getdoc(type(model))
    assert re.search(r"(?i)all[-\s]+absent", doc), "say what a record without any feature gives"
    assert entry.objective or not list(model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_options_are_plain_and_survive_a_file(name):
    found = fusion.options_type(name)
    options = found(**options_of(found))
    written = json.dumps(dataclasses.asdict(options))
    assert json.dumps(dataclasses.asdict(found(**json.loads(written)))) == written
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.anything = 1


@pytest.mark.parametrize(("name", "count"), CASES)
def test_the_output_has_the_promised_shapes(name, count):
    dims = first(count)
    model, batch = fitted(name, dims), records(dims)
    output = model(batch.features, batch.present)
    assert output.vector.shape == (len(batch), model.dim)
    assert output.vector.dtype == torch.float32
    assert torch.isfinite(output.vector).all()
    if output.weights is not None:
        there = torch.stack([batch.present[n] for n in sorted(dims)], dim=1)
        assert output.weights.shape == there.shape
        assert (output.weights[~there] == 0).all()
        assert (output.weights >= 0).all()
    if output.log_variance is not None:
        assert output.log_variance.shape == output.vector.shape
    assert set(output.views) <= set(dims)
    assert all(view.shape == output.vector.shape for view in output.views.values())


@pytest.mark.parametrize(("name", "count"), CASES)
def test_absent_rows_change_nothing(name, count):
    """Property a: outputs, losses and all gradients bit-identical whatever absent rows hold."""
    dims = first(count)
    batch = records(dims)
    model = fitted(name, dims, batch)
    objective = objective_of(name, model) if name in TRAINED else None
    for training in (False, True):
        model.train(training)
        if objective is not None:
            objective.train(training)
        clean = spoil(batch.features, batch.present, 0.0)
        expected = everything(name, model, objective, dataclasses.replace(batch, features=clean))
        assert_finite(expected)
        for filler in (float("nan"), float("inf"), 1e30):
            spoiled = spoil(batch.features, batch.present, filler)
            given = dataclasses.replace(batch, features=spoiled)
            assert_identical(everything(name, model, objective, given), expected)


@pytest.mark.parametrize(("name", "count"), CASES)
def test_absent_rows_change_nothing_that_is_settled_before_training(name, count):
    dims = first(count)
    batch = records(dims, repeat=16)
    spoiled = dataclasses.replace(batch, features=spoil(batch.features, batch.present, torch.nan))
    one, other = (fitted(name, dims, given).state_dict() for given in (batch, spoiled))
    assert_identical(one, other)


@pytest.mark.parametrize(("name", "count"), CASES)
def test_the_order_of_features_changes_nothing(name, count):
    """Properties b and m: neither of `dims`, which the seed must not see, nor of a batch."""
    dims = first(count)
    batch = records(dims)
    reverse = dict(reversed(dims.items()))
    turned = Batch(
        {n: batch.features[n] for n in reverse},
        {n: batch.present[n] for n in reverse},
        batch.targets,
    )
    one, other = build(name, dims), build(name, reverse)
    assert_identical(one.state_dict(), other.state_dict())
    results = []
    for model, given in ((one, batch), (other, turned)):
        objective = objective_of(name, model) if name in TRAINED else None
        results.append(everything(name, model, objective, given))
    assert_identical(*results)


@pytest.mark.parametrize(("name", "count"), CASES)
def test_a_missing_key_means_absent_everywhere(name, count):
    dims = first(count)
    model, batch = fitted(name, dims), records(dims)
    gone = next(iter(dims))
    never = {**batch.present, gone: torch.zeros(len(batch), dtype=torch.bool)}
    expected = model(batch.features, never).vector
    features = {n: x for n, x in batch.features.items() if n != gone}
    assert torch.equal(model(features, batch.present).vector, expected)
    with pytest.raises(ValueError, match="unknown feature 'smell'"):
        model({**batch.features, "smell": batch.features[gone]}, batch.present)


@pytest.mark.parametrize(("name", "count"), CASES)
def test_records_without_any_feature(name, count):
    """Property d: one documented vector for all of them, finite, with finite gradients and losses."""
    dims = first(count)
    model, batch = fitted(name, dims), records(dims)
    nobody = {n: torch.zeros(len(batch), dtype=torch.bool) for n in dims}
    objective = objective_of(name, model).eval() if name in TRAINED else None
    found = everything(name, model, objective, dataclasses.replace(batch, present=nobody))
    assert_finite(found)
    same = found["vector"][:1].expand_as(found["vector"])
    # Not to the bit: a batched matrix product may round rows differently.
    torch.testing.assert_close(found["vector"], same, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "count"), CASES)
def test_exactly_zero_features_have_finite_gradients(name, count):
    """Property f: present and zero, before and after standardising."""
    dims = first(count)
    batch = records(dims)
    zeros = {n: torch.zeros_like(x) for n, x in batch.features.items()}
    zero = dataclasses.replace(batch, features=zeros)
    for model in (build(name, dims), fitted(name, dims, zero)):
        objective = objective_of(name, model) if name in TRAINED else None
        assert_finite(everything(name, model, objective, zero))


@pytest.mark.parametrize(("name", "count"), CASES)
def test_a_file_holds_all_that_decides_the_output(name, count, tmp_path):
    """Property e, first half: loaded into a build with another seed it gives the same vectors."""
    dims = first(count)
    model, batch = fitted(name, dims, seed=0), records(dims)
    state = {key: t.contiguous() for key, t in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    other = build(name, dims, seed=99).eval()
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    one, two = (m(batch.features, batch.present).vector for m in (model, other))
    assert torch.equal(one, two)


@pytest.mark.parametrize(("name", "count"), [c for c in CASES if c[0] in TRAINED and c[1] > 1])
def test_every_parameter_learns(name, count):
    """Property e, second half: a finite non-zero gradient, and other values after the first steps.

    From two features on: weights that choose among features have nothing to choose with one.
    """
    dims = first(count)
    model, batch = build(name, dims), records(dims)
    for reduction in model.reductions():
        reduce(reduction, [batch])
    objective = objective_of(name, model)
    parameters = [
        (f"{type(m).__name__}.{n}", p) for m in (model, objective) for n, p in m.named_parameters()
    ]
    losses = objective.losses(model, batch.features, batch.present, batch.targets)
    assert losses
    assert all(loss.shape == () for loss in losses.values())
    total = torch.stack(list(losses.values())).sum()
    if not parameters:
        pytest.skip("everything in closed form")
    total.backward()
    for key, parameter in parameters:
        assert parameter.requires_grad, key
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.any(), key
    before = [parameter.detach().clone() for _, parameter in parameters]
    recipe = Recipe(steps=2, batch=len(batch), warmup=0, weight_decay=0.0, evaluate=2)
    train(model, objective, MemoryFeed(batch), recipe)
    for (key, parameter), old in zip(parameters, before, strict=True):
        assert not torch.equal(parameter.detach(), old), key


@pytest.mark.parametrize(("name", "count"), CASES)
def test_records_of_a_batch_do_not_see_each_other(name, count):
    """Property m: a batch of n is n batches of one; evaluation is deterministic."""
    dims = first(count)
    model, batch = fitted(name, dims), records(dims, repeat=2)
    together = model(batch.features, batch.present).vector
    assert torch.equal(together, model(batch.features, batch.present).vector)
    ones = [batch.rows(torch.tensor([i])) for i in range(len(batch))]
    alone = torch.cat([model(one.features, one.present).vector for one in ones])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "count"), CASES)
def test_an_empty_batch(name, count):
    dims = first(count)
    model = fitted(name, dims)
    empty = records(dims).rows(torch.arange(0))
    assert model(empty.features, empty.present).vector.shape == (0, model.dim)
    if name in TRAINED:
        objective = objective_of(name, model)
        losses = objective.losses(model, empty.features, empty.present, empty.targets)
        assert all(float(loss.detach()) == 0 for loss in losses.values()), losses


@pytest.mark.parametrize(("name", "count"), CASES)
def test_sequences(name, count):
    """(B, T, D): absent steps change nothing, a sequence of one is its vector."""
    dims = first(count)
    model, batch = fitted(name, dims), records(dims)
    generator = torch.Generator().manual_seed(5)
    gone = next(iter(dims))
    steps = torch.randn(len(batch), 4, dims[gone], generator=generator)
    mask = torch.rand(len(batch), 4, generator=generator) < 0.5
    present = {**batch.present, gone: mask}
    features = {**batch.features, gone: steps}
    given = dataclasses.replace(batch, features=features, present=present)
    spoiled = dataclasses.replace(given, features=spoil(features, present, torch.nan))
    objective = objective_of(name, model).eval() if name in TRAINED else None
    expected = everything(name, model, objective, given)
    assert_finite(expected)
    found = everything(name, model, objective, spoiled)
    assert_identical(found, expected)
    one = {n: x[:, None] for n, x in batch.features.items()}
    single = model(one, {n: mask[:, None] for n, mask in batch.present.items()}).vector
    torch.testing.assert_close(single, model(batch.features, batch.present).vector)
    if not model.takes_sequences:
        shown = mask[..., None]
        mean = torch.where(shown, steps, 0).sum(1) / shown.sum(1).clamp_min(1)
        pooled = model({**features, gone: mean}, {**present, gone: mask.any(dim=1)}).vector
        torch.testing.assert_close(found["vector"], pooled)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("added", ["a", "text", "zebra"])
def test_a_feature_added_later_changes_no_older_record(name, added):
    """Property h, whatever place the new feature takes in the order of names."""
    dims = first(3)
    model, batch = fitted(name, dims), records(dims)
    wider_dims = {added: 4, **dims}
    if not model.extensible:
        with pytest.raises(ValueError, match="can't take another feature"):
            fusion.extend(model, wider_dims)
        return
    wider = fusion.extend(model, wider_dims)
    assert not wider.training
    before = model(batch.features, batch.present)
    after = wider(batch.features, batch.present)
    torch.testing.assert_close(after.vector, before.vector, rtol=1e-6, atol=1e-6)
    if before.weights is not None:
        old = [sorted(wider_dims).index(n) for n in sorted(dims)]
        torch.testing.assert_close(after.weights[:, old], before.weights, rtol=1e-6, atol=1e-6)
    rows = len(batch)
    features = {**batch.features, added: torch.ones(rows, 4)}
    joined = wider(features, {**batch.present, added: torch.ones(rows, dtype=torch.bool)}).vector
    assert not torch.isclose(joined, after.vector).all(dim=1).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_size_is_known_before_anything_is_allocated(name):
    dims = first(2)
    with torch.device("meta"):
        outline = build(name, dims)
    model = build(name, dims)
    sizes = [{key: tuple(t.shape) for key, t in m.state_dict().items()} for m in (model, outline)]
    assert sizes[0] == sizes[1]
    assert all(t.is_meta for t in outline.state_dict().values())
    batch = records(dims)
    present = {n: mask.to("meta") for n, mask in batch.present.items()}
    vector = outline({n: x.to("meta") for n, x in batch.features.items()}, present).vector
    assert vector.shape == (len(batch), model.dim)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_travels_to_another_process(name):
    dims = first(2)
    model, batch = fitted(name, dims), records(dims)
    twin = pickle.loads(pickle.dumps(model))
    one, two = (m(batch.features, batch.present).vector for m in (model, twin))
    assert torch.equal(one, two)
