"""Coordinated spaces: views and vector, CCA against its textbook form, training, several workers."""

import itertools
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.cross_decomposition import CCA as SklearnCCA

import fusion
from fusion import objectives
from fusion.batch import Batch, MemoryFeed
from fusion.coordinated.canonical import CanonicalReduction
from fusion.learner import train
from fusion.presence import unit
from learning.loop import Recipe
from learning.reduce import reduce

DIMS = {"text": 6, "image": 5, "video.sound": 4}
SPACES = ["infonce", "siglip", "dcca", "dgcca", "cca", "barlow-twins", "vicreg"]
TRAINED = [name for name in SPACES if name != "cca"]
PATTERNS = list(itertools.product([False, True], repeat=len(DIMS)))
SMALL = {"dim": 3, "hidden": 16, "layers": 1}


def related(rows, dims=DIMS, seed=0, noise=0.1, latent=3):
    """Features that are noisy linear maps of one latent."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.randn(rows, latent, generator=generator)
    mixing = torch.Generator().manual_seed(99)
    features = {}
    for name in sorted(dims):
        turn = torch.randn(latent, dims[name], generator=mixing)
        spread = torch.randn(rows, dims[name], generator=generator)
        features[name] = code @ turn + noise * spread + 2
    return features


def all_patterns(rows, dims=DIMS, seed=0):
    table = torch.tensor(PATTERNS).repeat(rows // len(PATTERNS) + 1, 1)[:rows]
    return Batch(related(rows, dims, seed), {n: table[:, i] for i, n in enumerate(sorted(dims))})


def complete(rows, dims=DIMS, seed=0):
    present = {name: torch.ones(rows, dtype=torch.bool) for name in dims}
    return Batch(related(rows, dims, seed), present)


def built(name, seed=0, **options):
    torch.manual_seed(seed)
    shape = {"dim": 3} if name == "cca" else SMALL
    model = fusion.build(name, DIMS, **(shape | options))
    return model, objectives.build(fusion.FUSIONS[name].objective, model)


def trained(name, steps=150, dims=DIMS, batch=None, **options):
    torch.manual_seed(0)
    shape = {"dim": 3} if name == "cca" else SMALL
    model = fusion.build(name, dims, **(shape | options))
    objective = objectives.build(fusion.FUSIONS[name].objective, model)
    feed = MemoryFeed(batch or complete(1024, dims))
    train(model, objective, feed, Recipe(steps=steps, batch=256, learning_rate=1e-2, warmup=5))
    return model


@pytest.mark.parametrize("name", SPACES)
def test_the_vector_is_the_unit_mean_of_the_present_unit_views(name):
    model, _ = built(name)
    batch = all_patterns(16)
    with torch.no_grad():
        output = model.eval()(batch.features, batch.present)
    for row in range(16):
        there = [n for n in sorted(DIMS) if batch.present[n][row]]
        views = [output.views[n][row].double().numpy() for n in there]
        expected = sum((v / np.linalg.norm(v) for v in views), np.zeros(model.dim))
        expected = expected / max(np.linalg.norm(expected), 1e-30)
        np.testing.assert_allclose(output.vector[row].numpy(), expected, atol=1e-6)
        shares = [float(n in there) / max(len(there), 1) for n in sorted(DIMS)]
        np.testing.assert_allclose(output.weights[row].numpy(), shares)
        assert not any(output.views[n][row].any() for n in DIMS if n not in there)


@pytest.mark.parametrize("name", TRAINED)
def test_absent_rows_change_no_loss_and_no_gradient_and_every_parameter_learns(name):
    results = []
    for filler in (0.0, float("nan"), 1e30):
        model, objective = built(name)
        batch = all_patterns(64)
        spoiled = {
            n: torch.where(batch.present[n][:, None], x, filler) for n, x in batch.features.items()
        }
        (loss,) = objective.losses(model, spoiled, batch.present).values()
        loss.backward()
        parameters = [*model.parameters(), *objective.parameters()]
        results.append([loss.detach(), *(p.grad for p in parameters)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    assert all(tensor.isfinite().all() and tensor.any() for tensor in results[0])


@pytest.mark.parametrize("name", SPACES)
def test_what_was_learned_brings_the_features_of_a_record_together(name):
    model = trained(name)
    test = complete(200, seed=7)
    with torch.no_grad():
        views = {n: model({n: x}, {n: test.present[n]}).vector for n, x in test.features.items()}
    for one, other in itertools.permutations(sorted(DIMS), 2):
        near = (views[one] @ views[other].T).argsort(dim=1, descending=True)
        rank = (near == torch.arange(200)[:, None]).int().argmax(dim=1)
        assert rank.median() < 20  # by chance: 100


@pytest.mark.parametrize("name", SPACES)
def test_records_with_gaps_train_the_space_as_well(name):
    model = trained(name, batch=all_patterns(2048))
    test = complete(200, seed=7)
    with torch.no_grad():
        views = {n: unit(v) for n, v in model(test.features, test.present).views.items()}
    for one, other in itertools.permutations(sorted(DIMS), 2):
        cosines = views[one] @ views[other].T
        assert cosines.diagonal().mean() - cosines.mean() > 0.3


# -- CCA


def textbook(x, y, ridge=0.0):
    """Canonical correlations as eigenvalues of S11^-1 S12 S22^-1 S21 of standardised columns."""
    rows = [(v - v.mean(0)) / v.std(0) for v in (x, y)]
    s11, s22 = (v.T @ v / len(v) + ridge * np.eye(v.shape[1]) for v in rows)
    s12 = rows[0].T @ rows[1] / len(x)
    squared = scipy.linalg.eigvals(np.linalg.solve(s11, s12) @ np.linalg.solve(s22, s12.T))
    return np.sqrt(np.sort(squared.real)[::-1])


def canonical(dims, batch, parts=1, **options):
    """CCA fitted on a batch, cut into so many parts."""
    model = fusion.build("cca", dims, **options)
    for reduction in model.reductions():
        cut = torch.arange(len(batch)).chunk(parts)
        reduce(reduction, [batch.rows(rows) for rows in cut])
    return model


def correlations(model, batch):
    with torch.no_grad():
        views = model(batch.features, batch.present).views.values()
    one, other = ((v - v.mean(0)).double() for v in views)
    return ((one * other).sum(0) / (one.norm(dim=0) * other.norm(dim=0))).numpy()


TWO = {"image": 5, "text": 6}


def test_the_correlations_are_those_of_the_eigenproblem_and_of_scikit_learn():
    batch = complete(500, TWO)
    found = correlations(canonical(TWO, batch, dim=4, ridge=1e-9), batch)
    x, y = (batch.features[n].double().numpy() for n in ("image", "text"))
    np.testing.assert_allclose(found, textbook(x, y)[:4], atol=1e-5)
    a, b = SklearnCCA(n_components=3, max_iter=5000, tol=1e-10).fit_transform(x, y)
    theirs = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(found[:3], theirs, atol=1e-3)


def test_the_directions_are_scaled_by_the_ridge_correlations_to_the_power():
    batch = complete(400, TWO)
    plain = canonical(TWO, batch, dim=5, ridge=0.1, power=0.0)
    scaled = canonical(TWO, batch, dim=5, ridge=0.1, power=2.0)
    x, y = (batch.features[n].double().numpy() for n in ("image", "text"))
    expected = textbook(x, y, ridge=0.1)[:5] ** 2
    for name in TWO:
        ratio = scaled.maps[name].weight.norm(dim=0) / plain.maps[name].weight.norm(dim=0)
        np.testing.assert_allclose(ratio.numpy(), expected, rtol=1e-3, atol=1e-5)


def test_training_keeps_the_ridge_and_the_power_that_were_asked_for():
    """What settles trained views must not settle a closed form again."""
    batch = complete(512, TWO)
    wanted = canonical(TWO, batch, dim=3, ridge=1.0, power=0.0)
    got = trained("cca", dims=TWO, batch=batch, ridge=1.0, power=0.0)
    for name in TWO:
        torch.testing.assert_close(got.maps[name].weight, wanted.maps[name].weight)


def test_three_features_solve_the_multiset_eigenproblem():
    batch = complete(600)
    model = canonical(DIMS, batch, dim=4, ridge=1e-9, power=0.0)
    names = sorted(DIMS)
    rows = [batch.features[n].double().numpy() for n in names]
    rows = [(v - v.mean(0)) / v.std(0) for v in rows]
    whole = np.hstack(rows)
    covariance = whole.T @ whole / len(whole)
    blocks = scipy.linalg.block_diag(*(v.T @ v / len(v) for v in rows))
    values, vectors = scipy.linalg.eigh(covariance - blocks, blocks)
    with torch.no_grad():
        views = model(batch.features, batch.present).views
    for k in range(4):
        start = 0
        for name, own in zip(names, rows, strict=True):
            part = vectors[start : start + own.shape[1], -1 - k]
            start += own.shape[1]
            ours, theirs = views[name][:, k].numpy(), own @ part
            assert abs(np.corrcoef(ours, theirs)[0, 1]) == pytest.approx(1, abs=1e-5)
    assert values[-1] / 2 > 0.8


def test_one_part_or_many_give_the_same_maps_and_gaps_leave_whole_pairs_alone():
    batch = all_patterns(1000)
    one, many = (canonical(DIMS, batch, parts) for parts in (1, 7))
    for name in DIMS:
        torch.testing.assert_close(one.maps[name].weight, many.maps[name].weight)
    spoiled = {n: torch.where(batch.present[n][:, None], x, torch.nan)
               for n, x in batch.features.items()}  # fmt: skip
    again = canonical(DIMS, Batch(spoiled, batch.present))
    assert all(torch.equal(one.maps[n].weight, again.maps[n].weight) for n in DIMS)


def test_merged_states_are_the_state_of_all_rows():
    batch = all_patterns(300)
    model = fusion.build("cca", DIMS)
    reduction = CanonicalReduction(model, ridge=1e-3, power=1.0)
    whole = reduction.update(reduction.empty(), batch)
    cut = [batch.rows(rows) for rows in torch.arange(300).split(110)]
    states = [reduction.update(reduction.empty(), part) for part in cut]
    merged = reduction.merge(reduction.merge(states[0], states[1]), states[2])
    for key, expected in whole.items():
        torch.testing.assert_close(merged[key], expected)


def test_a_feature_that_is_never_there_and_a_constant_one_leave_finite_maps():
    batch = complete(100)
    batch.present["text"][:] = False
    batch.features["image"][:] = 3.0
    model = canonical(DIMS, batch)
    assert model.dim == 4  # the shortest feature
    with torch.no_grad():
        test = complete(10)
        assert model(test.features, test.present).vector.isfinite().all()


# -- training


def test_deep_cca_is_closed_by_the_linear_cca_of_its_views():
    model = trained("dcca", dims=TWO)
    batch = complete(1024, TWO)
    with torch.no_grad():
        views = [v.double().numpy() for v in model(batch.features, batch.present).views.values()]
    for view in views:
        np.testing.assert_allclose(view.mean(0), 0, atol=1e-4)
    across = np.corrcoef(*views, rowvar=False)[:3, 3:]
    np.testing.assert_allclose(across, np.diag(np.diag(across)), atol=2e-2)
    np.testing.assert_array_less(0.9, np.diag(across))


def test_the_temperature_stays_within_its_bounds_and_comes_back():
    model, objective = built("infonce")
    batch = complete(32)
    for start, bound in ((9.0, np.log(100)), (-3.0, 0.0)):
        objective.log_scale.data.fill_(start)
        (loss,) = objective.losses(model, batch.features, batch.present).values()
        loss.backward()
        assert objective.log_scale.item() == pytest.approx(bound)
        assert objective.log_scale.grad.item() != 0


def test_fewer_records_than_dimensions_train_to_numbers():
    for seed in range(4):
        for name in ("dcca", "dgcca"):
            torch.manual_seed(seed)
            model = fusion.build(name, TWO, dim=50, hidden=32, layers=2)
            recipe = Recipe(steps=10, batch=32, warmup=2, seed=seed)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                train(model, objectives.build(name, model), MemoryFeed(complete(64, TWO)), recipe)
            assert any("50 dimensions" in str(w.message) for w in told)
            assert all(t.isfinite().all() for t in model.state_dict().values())


def test_one_feature_or_no_views_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="at least two features together, got text"):
        fusion.build("infonce", {"text": 3})
    with pytest.raises(ValueError, match="GMU has no views.*choose a coordinated space"):
        objectives.build("infonce", fusion.build("gmu", DIMS))
    with pytest.raises(ValueError, match="chunk: expected at least 1, got 0"):
        objectives.build("siglip", fusion.build("siglip", DIMS), chunk=0)


def test_a_space_takes_a_new_feature_and_keeps_its_vectors():
    model = trained("infonce", steps=5)
    wider = fusion.extend(model, DIMS | {"extra": 7}).eval()
    batch = all_patterns(16)
    with torch.no_grad():
        before, after = (m(batch.features, batch.present).vector for m in (model, wider))
    torch.testing.assert_close(after, before)


# -- several workers

WORKERS = Path(__file__).parent / "coordinated_workers.py"


@pytest.mark.parametrize("name", [*TRAINED, "cca"])
def test_two_workers_are_one_with_all_their_rows(name, two_workers):
    """Loss, averaged gradients and closing maps, with a shorter batch at the second worker."""
    torch.manual_seed(0)
    sys.path.insert(0, str(WORKERS.parent))
    from coordinated_workers import measure

    expected, got = measure(name, 0, 1), two_workers[name]
    assert set(expected) == set(got)
    for key, tensor in expected.items():
        torch.testing.assert_close(got[key], tensor, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    root = WORKERS.parent.parent
    started = [
        subprocess.Popen([sys.executable, WORKERS, str(folder), str(rank)], cwd=root,
                         env={"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"})
        for rank in range(2)
    ]  # fmt: skip
    assert [process.wait(120) for process in started] == [0, 0]
    return torch.load(folder / "found.pt")
