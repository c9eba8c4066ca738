"""The losses of coordinated spaces against slow references in float64, for every pattern of presence."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch

from learning.contrastive import info_nce, siglip
from learning.correlation import shared_variance, squared_correlations
from learning.redundancy import barlow_twins, vicreg

MASKS = list(
    itertools.product([False, True], repeat=4)
)  # of two views of two rows, beside full ones


def views(rows=9, dim=5, count=2, seed=0, unit=False):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(rows, dim, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [torch.nn.functional.normalize(v) if unit else v for v in drawn]


def masks(pattern, rows=9):
    x, y = torch.ones(2, rows, dtype=torch.bool)
    x[:2], y[:2] = torch.tensor(pattern[:2]), torch.tensor(pattern[2:])
    return x, y


def naive_info_nce(x, y, scale, x_there, y_there):
    logits, total, pairs = scale * x @ y.T, 0.0, 0
    for i in np.flatnonzero(x_there & y_there):
        across = sum(np.exp(logits[i, j]) for j in np.flatnonzero(y_there))
        down = sum(np.exp(logits[j, i]) for j in np.flatnonzero(x_there))
        total -= np.log(np.exp(logits[i, i]) / across) / 2
        total -= np.log(np.exp(logits[i, i]) / down) / 2
        pairs += 1
    return total / max(pairs, 1)


def naive_siglip(x, y, scale, bias, x_there, y_there):
    total = 0.0
    for i, j in itertools.product(np.flatnonzero(x_there), np.flatnonzero(y_there)):
        sign = 1 if i == j else -1
        total += np.log1p(np.exp(-sign * (scale * x[i] @ y[j] + bias)))
    pairs = (x_there & y_there).sum()
    return total / pairs if pairs else 0.0


@pytest.mark.parametrize("pattern", MASKS)
def test_contrastive_losses_equal_their_sums_for_every_pattern(pattern):
    x, y = views(unit=True)
    there = masks(pattern)
    scale, bias = torch.tensor(3.0).double(), torch.tensor(-1.5).double()
    plain = [t.numpy() for t in (x, y)], [t.numpy() for t in there]
    expected = naive_info_nce(*plain[0], 3.0, *plain[1])
    assert float(info_nce(x, y, scale, *there)) == pytest.approx(expected, rel=1e-12)
    expected = naive_siglip(*plain[0], 3.0, -1.5, *plain[1])
    for chunk in (1, 4, 100):
        got = siglip(x, y, scale, bias, *there, chunk=chunk)
        assert float(got) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", [info_nce, siglip])
def test_an_absent_row_is_neither_positive_nor_negative(loss):
    x, y = views(unit=True)
    x_there, y_there = masks((True, False, False, True))
    numbers = [torch.tensor(2.0).double(), torch.tensor(-1.0).double()][: 1 + (loss is siglip)]
    before = loss(x, y, *numbers, x_there, y_there)
    x[~x_there], y[~y_there] = 7.0, -3.0
    assert torch.equal(before, loss(x, y, *numbers, x_there, y_there))


@pytest.mark.parametrize("loss", [info_nce, siglip])
def test_a_batch_without_a_pair_gives_zero_and_no_gradient(loss):
    x, y = (v.requires_grad_() for v in views(unit=True))
    there = torch.arange(9) < 4
    numbers = [torch.tensor(2.0).double(), torch.tensor(-1.0).double()][: 1 + (loss is siglip)]
    found = loss(x, y, *numbers, there, ~there)
    found.backward()
    assert found.item() == 0
    assert not x.grad.any()
    assert not y.grad.any()


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_the_gradients_of_the_chunks_are_those_of_the_loss(chunk):
    x, y = (v.requires_grad_() for v in views(unit=True))
    numbers = [torch.tensor(n, dtype=torch.float64, requires_grad=True) for n in (3.0, -1.5)]
    there = masks((True, False, False, True))
    assert torch.autograd.gradcheck(
        lambda *t: siglip(*t, *there, chunk=chunk), (x, y, *numbers), eps=1e-6
    )


def test_chunked_is_the_full_matrix_in_single_precision():
    x, y = (v.float().requires_grad_() for v in views(500, 32, unit=True))
    scale, bias = torch.tensor(10.0), torch.tensor(-10.0)
    ones = torch.ones(500, dtype=torch.bool)
    chunked = siglip(x, y, scale, bias, ones, ones, chunk=64)
    got = torch.autograd.grad(chunked, (x, y))
    sign = 2 * torch.eye(500) - 1
    full = -torch.nn.functional.logsigmoid(sign * (scale * x @ y.T + bias)).sum() / 500
    expected = torch.autograd.grad(full, (x, y))
    torch.testing.assert_close(chunked, full, rtol=1e-6, atol=0)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-8)


def test_no_tensor_of_the_chunked_loss_grows_with_the_square_of_the_batch():
    """Counted, not timed: the largest tensor any operation makes, forward and backward."""

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor):
                Largest.numel = max(Largest.numel, found.numel())
            return found

    x, y = (v.float().requires_grad_() for v in views(2048, 8, unit=True))
    ones = torch.ones(2048, dtype=torch.bool)
    with Largest():
        siglip(x, y, torch.tensor(10.0), torch.tensor(-10.0), ones, ones, chunk=16).backward()
    assert Largest.numel <= 2048 * 16


def eigen_dcca(x, y, ridge):
    """Sum of squared singular values of S11^-1/2 S12 S22^-1/2, inverse roots by eigendecomposition."""
    rows = [v - v.mean(0) for v in (x, y)]
    covariances = [v.T @ v / (len(v) - 1) for v in rows]
    roots = []
    for own in covariances:
        own = own + ridge * np.trace(own) / len(own) * np.eye(len(own))
        values, vectors = np.linalg.eigh(own)
        roots.append(vectors @ np.diag(values**-0.5) @ vectors.T)
    t = roots[0] @ (rows[0].T @ rows[1] / (len(x) - 1)) @ roots[1]
    return (np.linalg.svd(t, compute_uv=False) ** 2).sum()


@pytest.mark.parametrize(("rows", "dim"), [(200, 10), (60, 50), (32, 50), (2, 3)])
@pytest.mark.parametrize("ridge", [1e-4, 1e-2])
def test_the_cholesky_form_is_the_eigen_form_even_with_few_rows(rows, dim, ridge):
    x, y = views(rows, dim)
    y = y + x @ torch.randn(
        dim, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        got = float(squared_correlations(x, y, ridge))
    assert got == pytest.approx(eigen_dcca(x.numpy(), y.numpy(), ridge), rel=1e-5)


def test_a_batch_shorter_than_the_latent_is_finite_with_a_warning():
    x, y = (v.float().requires_grad_() for v in views(32, 50))
    with pytest.warns(RuntimeWarning, match="32 records in a batch for 50 dimensions"):
        found = squared_correlations(x, y, 1e-3)
    found.backward()
    assert found.isfinite()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e12])
def test_correlations_of_views_of_any_scale_are_finite(scale):
    x, y = ((v.float() * scale).requires_grad_() for v in views(100, 5))
    found = squared_correlations(x, y, 1e-3)
    found.backward()
    assert found.isfinite()
    assert x.grad.isfinite().all()
    assert y.grad.isfinite().all()


def test_the_gradient_of_the_correlations_is_the_numerical_one():
    x, y, z = (v.requires_grad_() for v in views(20, 3, count=3))
    assert torch.autograd.gradcheck(lambda a, b: squared_correlations(a, b, 1e-2), (x, y))
    there = [torch.rand(20, generator=torch.Generator().manual_seed(n)) < 0.8 for n in range(3)]
    assert torch.autograd.gradcheck(lambda *t: shared_variance(t, there, 1e-2), (x, y, z))


def naive_gcca(views, present, ridge):
    """The eigenvalues of K^-1/2 (sum K_m P_m K_m) K^-1/2 with n x n projections, as they are written."""
    there = np.stack(present, axis=1)
    used = there.sum(1) >= 2
    there = there[used].astype(float)
    agreement = np.zeros((used.sum(),) * 2)
    for view, mask in zip(views, there.T, strict=True):
        rows = view[used] * mask[:, None]
        rows = (rows - rows.sum(0) / mask.sum()) * mask[:, None]
        scatter = rows.T @ rows
        scatter += ridge * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
        agreement += rows @ np.linalg.inv(scatter) @ rows.T
    values = scipy.linalg.eigh(agreement, np.diag(there.sum(1)), eigvals_only=True)
    return values[-views[0].shape[1] :].mean()


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_the_shared_variance_is_that_of_generalised_cca(share):
    three = views(40, 4, count=3)
    generator = torch.Generator().manual_seed(5)
    there = [torch.rand(40, generator=generator) < share for _ in three]
    got = shared_variance(three, there, 1e-3)
    expected = naive_gcca([v.numpy() for v in three], [m.numpy() for m in there], 1e-3)
    assert float(got) == pytest.approx(expected, rel=1e-8)


def test_views_that_are_linear_maps_of_each_other_share_everything():
    (x,) = views(50, 4, count=1)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    there = [torch.ones(50, dtype=torch.bool)] * 3
    found = shared_variance([x, x @ turn, -3 * x + 1], there, 1e-9)
    assert float(found) == pytest.approx(1, abs=1e-6)


def test_barlow_twins_equals_its_definition():
    x, y = views(30, 4)
    a, b = ((v - v.mean(0)) / np.sqrt(v.var(0) + 1e-6) for v in (x.numpy(), y.numpy()))
    expected = 0.0
    for i, j in itertools.product(range(4), repeat=2):
        c = (a[:, i] * b[:, j]).mean()
        expected += (1 - c) ** 2 / 4 if i == j else 0.3 * c**2 / 4
    assert float(barlow_twins(x, y, 0.3)) == pytest.approx(expected, rel=1e-10)


def test_vicreg_equals_its_definition():
    x, y = views(30, 4)
    y = y * 0.2
    expected = 25 * ((x - y) ** 2).mean().item()
    for v in (x.numpy(), y.numpy()):
        covariance = np.cov(v, rowvar=False)
        deviations = np.sqrt(np.diag(covariance) + 1e-4)
        expected += 20 * np.maximum(0, 1 - deviations).mean()
        expected += 2 * (covariance**2)[~np.eye(4, dtype=bool)].sum() / 4
    got = vicreg(x, y, invariance=25, variance=20, covariance=2)
    assert float(got) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: squared_correlations(x, y, 1e-3),
        lambda x, y: barlow_twins(x, y, 1.0),
        lambda x, y: vicreg(x, y, invariance=1, variance=1, covariance=1),
        lambda x, y: shared_variance([x, y], [torch.ones(len(x), dtype=torch.bool)] * 2, 1e-3),
    ],
)
def test_statistics_of_fewer_than_two_rows_are_zero_with_a_gradient(loss, rows):
    x, y = (v.requires_grad_() for v in views(rows, 4))
    found = loss(x, y)
    found.backward()
    assert found.item() == 0
    assert not x.grad.any()
