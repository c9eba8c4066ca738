"""Products, mixtures and divergences of Gaussians against float64 numpy, torch.distributions and loops."""

import itertools

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from learning import gaussian


def experts(count, rows=1, dim=4, seed=0, dtype=torch.float32):
    """`rows` records of every presence pattern of `count` experts."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.tensor(list(itertools.product([False, True], repeat=count)) * rows)
    shape = (len(present), count, dim)
    mean, raw = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return mean, 2 * raw, present


def numpy_product(mean, log_variance, chosen):
    """Mean and variance of N(0, I) times the chosen experts of one record, in float64."""
    precision = np.ones(mean.shape[1])
    weighted = np.zeros(mean.shape[1])
    for m in chosen:
        precision = precision + np.exp(-log_variance[m])
        weighted = weighted + mean[m] * np.exp(-log_variance[m])
    return weighted / precision, 1 / precision


def numpy_moments(components):
    means, variances = (np.array(part) for part in zip(*components, strict=True))
    mean = means.mean(axis=0)
    return mean, (variances + means**2).mean(axis=0) - mean**2


def reference(joint, mean, log_variance, present):
    """Mean and variance of every record, written as sums over subsets."""
    found = []
    for mu, lv, there in zip(
        *(x.double().numpy() for x in (mean, log_variance, present)), strict=True
    ):
        chosen = np.flatnonzero(there)
        prior = (np.zeros(mean.shape[2]), np.ones(mean.shape[2]))
        if joint == "poe":
            components = [numpy_product(mu, lv, chosen)]
        elif joint == "moe":
            components = [(mu[m], np.exp(lv[m])) for m in chosen] or [prior]
        else:
            sizes = range(1, len(chosen) + 1)
            subsets = [s for size in sizes for s in itertools.combinations(chosen, size)]
            components = [numpy_product(mu, lv, s) for s in subsets] or [prior]
        found.append(numpy_moments(components))
    means, variances = zip(*found, strict=True)
    return np.array(means), np.array(variances)


JOINTS = {
    "poe": gaussian.product,
    "moe": gaussian.mixture,
    "mopoe": gaussian.mixture_of_products,
}


@pytest.mark.parametrize("joint", JOINTS)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_moments_are_those_of_the_formula_for_every_pattern(joint, count):
    mean, log_variance, present = experts(count)
    found = JOINTS[joint](mean, log_variance, present).moments()
    expected_mean, expected_variance = reference(joint, mean, log_variance, present)
    for got, wanted in zip(
        (found[0], found[1].exp()), (expected_mean, expected_variance), strict=True
    ):
        error = np.linalg.norm(got.double().numpy() - wanted) / np.linalg.norm(wanted)
        assert error < 1e-5


@pytest.mark.parametrize("joint", JOINTS)
def test_without_any_expert_the_prior_is_left_and_nothing_says_anything(joint):
    mean, log_variance, present = experts(3)
    posterior = JOINTS[joint](mean, log_variance, present)
    assert not present[0].any()
    for moment in posterior.moments():
        assert torch.equal(moment[0], torch.zeros(4))
    assert posterior.kl()[0] == 0
    assert not posterior.weights[0].any()
    torch.testing.assert_close(posterior.share.sum(dim=1), torch.ones(8))
    torch.testing.assert_close(posterior.weights[1:].sum(dim=1), torch.ones(7))


def test_one_matrix_product_is_the_loop_over_the_subsets():
    mean, log_variance, present = experts(5, dtype=torch.float64)
    posterior = gaussian.mixture_of_products(mean, log_variance, present)
    subsets = list(itertools.product([False, True], repeat=5))
    assert posterior.mean.shape == (32, len(subsets), 4)
    for row in range(len(present)):
        seen = {}
        for k in range(len(subsets)):
            if posterior.share[row, k] > 0:
                seen[tuple(posterior.mean[row, k].tolist())] = 1 / posterior.precision[row, k]
        chosen = [m for m in range(5) if present[row, m]]
        wanted = [
            numpy_product(mean[row].numpy(), log_variance[row].numpy(), s)
            for size in range(1, len(chosen) + 1)
            for s in itertools.combinations(chosen, size)
        ] or [(np.zeros(4), np.ones(4))]
        assert len(seen) == len(wanted)
        found = sorted((m, variance.tolist()) for m, variance in seen.items())
        expected = sorted((tuple(m.tolist()), v.tolist()) for m, v in wanted)
        np.testing.assert_allclose(
            [[*m, *v] for m, v in found], [[*m, *v] for m, v in expected], rtol=1e-10, atol=1e-12
        )


def test_subsets_in_slices_of_the_records_are_those_of_all_at_once(monkeypatch):
    mean, log_variance, present = experts(4, rows=2, dtype=torch.float64)
    results = []
    for size in (2**22, 16 * 4 * 8 * 3):  # three records at a time
        monkeypatch.setattr(gaussian, "SLICE", size)
        leaves = [x.clone().requires_grad_() for x in (mean, log_variance)]
        posterior = gaussian.mixture_of_products(*leaves, present)
        found = [*posterior.moments(), posterior.kl(), posterior.weights]
        sum(f.square().sum() for f in found).backward()
        along = torch.func.jvp(
            lambda m, lv: gaussian.mixture_of_products(m, lv, present).moments()[1],
            (mean, log_variance),
            (torch.ones_like(mean), torch.ones_like(mean)),
        )
        results.append([*found, *along, *(leaf.grad for leaf in leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_the_gradients_of_the_subsets_in_both_modes():
    mean, log_variance, present = experts(3, dim=2, dtype=torch.float64)

    def components(*given):
        posterior = gaussian.mixture_of_products(*given, present)
        chosen = posterior.component(torch.arange(len(present)))
        return posterior.mean, posterior.precision, *chosen

    leaves = (mean.requires_grad_(), log_variance.requires_grad_())
    assert torch.autograd.gradcheck(components, leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(components, leaves)


@pytest.mark.parametrize("joint", ["poe", "mopoe"])
def test_the_weights_are_the_shares_of_the_precision(joint):
    """Averaged over coordinates and subsets, then to sum 1 without the prior."""
    mean, log_variance, present = experts(3)
    precision = np.exp(-log_variance.double().numpy()) * present.numpy()[..., None]
    subsets = (
        list(itertools.product([False, True], repeat=3)) if joint == "mopoe" else [(True,) * 3]
    )
    parts = np.zeros(present.shape)
    for row, there in enumerate(present.numpy()):
        for subset in subsets:
            if not (subset & ~there).any() or joint == "poe":
                own = precision[row] * np.array(subset)[:, None]
                parts[row] += (own / (1 + own.sum(axis=0))).mean(axis=1)
    expected = parts / np.maximum(parts.sum(axis=1, keepdims=True), 1e-300)
    found = JOINTS[joint](mean, log_variance, present).weights
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_the_divergence_is_that_of_torch_and_at_least_zero():
    mean, log_variance, _ = experts(3)
    own = Independent(Normal(mean, torch.exp(0.5 * log_variance)), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    found = gaussian.kl_to_prior(mean, log_variance)
    torch.testing.assert_close(found, kl_divergence(own, prior), rtol=1e-5, atol=1e-5)
    assert (found >= 0).all()


def test_the_divergence_is_least_at_the_prior():
    """With log sigma in the place of log sigma^2 the least would be negative, at sigma^2 = 1/2."""
    log_variance = torch.linspace(-3, 3, 601, dtype=torch.float64)[:, None]
    values = gaussian.kl_to_prior(torch.zeros_like(log_variance), log_variance)
    assert abs(float(log_variance[values.argmin()])) < 1e-9
    assert abs(float(values.min())) < 1e-12


def test_the_divergence_of_a_mixture_is_bounded_by_that_of_its_components():
    mean, log_variance, present = experts(3, rows=1, dim=1, dtype=torch.float64)
    posterior = gaussian.mixture_of_products(mean, log_variance, present)
    grid = torch.linspace(-40, 40, 160_001, dtype=torch.float64)
    for row in range(len(present)):
        deviation = posterior.precision[row].rsqrt()
        density = Normal(posterior.mean[row], deviation).log_prob(grid).exp()  # (K, N)
        mixed = (posterior.share[row][:, None] * density).sum(dim=0).clamp_min(1e-300)
        log_prior = Normal(0.0, 1.0).log_prob(grid)
        exact = torch.trapezoid(mixed * (mixed.log() - log_prior), grid)
        assert posterior.kl()[row] >= exact - 1e-6


@pytest.mark.parametrize("joint", JOINTS)
def test_samples_have_the_moments(joint):
    mean, log_variance, present = experts(2, dim=2)
    mean, log_variance, present = (
        x[3:].repeat_interleave(40_000, dim=0) for x in (mean, log_variance / 2, present)
    )
    posterior = JOINTS[joint](mean, log_variance, present)
    torch.manual_seed(0)
    drawn = posterior.sample()
    wanted_mean, wanted_log_variance = (moment[0] for moment in posterior.moments())
    deviation = torch.exp(0.5 * wanted_log_variance)
    assert ((drawn.mean(dim=0) - wanted_mean).abs() < 4 * deviation / 200).all()
    assert ((drawn.var(dim=0) / deviation**2 - 1).abs() < 0.05).all()


def test_a_sure_expert_decides_and_extremes_stay_finite():
    mean = torch.tensor([[[3.0], [-5.0]]])
    log_variance = gaussian.bounded(torch.tensor([[[-1e9], [1e9]]]))
    present = torch.ones(1, 2, dtype=torch.bool)
    for joint in (gaussian.product, gaussian.mixture_of_products):
        posterior = joint(mean, log_variance, present)
        assert torch.isfinite(posterior.mean).all()
        assert torch.isfinite(posterior.precision).all()
    sure = gaussian.product(mean, log_variance, present)
    torch.testing.assert_close(sure.mean[0, 0], torch.tensor([3.0]), rtol=1e-3, atol=1e-3)
    assert sure.weights[0, 0] > 0.999


def test_the_bound_is_the_identity_around_zero_and_never_flat_within_reach():
    raw = torch.tensor([-30.0, -1.0, 0.0, 1.0, 30.0], requires_grad=True)
    bound = gaussian.bounded(raw)
    assert (bound.abs() < gaussian.BOUND).all()
    torch.testing.assert_close(bound[1:4], raw[1:4], rtol=0, atol=0.01)
    bound.sum().backward()
    assert (raw.grad > 0).all()
