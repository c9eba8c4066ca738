"""Penalties and corruptions against their formulas; the contractive ones against the true Jacobian."""

import numpy as np
import pytest
import torch

import fusion
from fusion.objectives.coding import coding
from learning import corruption, penalties
from learning.mlp import MLP

DIMS = {"image": 4, "text": 3}


def coded(model, seed=0, rows=6):
    """How a fusion codes a batch in which features are missing, and its Jacobian at every record."""
    generator = torch.Generator().manual_seed(seed)
    values = {n: torch.randn(rows, d, generator=generator) for n, d in DIMS.items()}
    masks = {n: torch.rand(rows, generator=generator) < 0.7 for n in DIMS}
    values = {n: torch.where(masks[n][:, None], x, 0) for n, x in values.items()}
    return coding(model, values, masks, model.fuse(values, masks).vector, fixed=False)


def jacobian_norms(found):
    """|dh/dx|_F^2 of every record by reverse mode, hidden inputs included."""
    whole = torch.autograd.functional.jacobian(found.encode, found.inputs)  # (B, K, B, D)
    return torch.stack([whole[i, :, i].square().sum() for i in range(len(whole))])


def value(spec, found):
    return penalties.build({"weight": 1.0, **spec})(found).item()


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "linear"])
def test_the_closed_form_is_the_norm_of_the_jacobian(activation):
    torch.manual_seed(0)
    model = fusion.build("autoencoder", DIMS, dim=5, hidden=[], code=activation)
    found = coded(model)
    expected = jacobian_norms(found).mean().item()
    assert expected > 0
    assert value({"name": "contractive"}, found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["autoencoder", "gmu"])
def test_the_estimate_is_unbiased_for_deep_encoders(name):
    torch.manual_seed(0)
    found = coded(fusion.build(name, DIMS, dim=5))
    expected = jacobian_norms(found).mean().item()
    torch.manual_seed(1)
    drawn = np.array([value({"name": "contractive-estimate"}, found) for _ in range(1000)])
    assert abs(drawn.mean() - expected) < 4 * drawn.std(ddof=1) / np.sqrt(len(drawn))
    many = value({"name": "contractive-estimate", "probes": 200}, found)
    assert many == pytest.approx(expected, rel=0.1)


def test_the_estimate_reaches_the_weights_and_works_without_gradients():
    torch.manual_seed(0)
    model = fusion.build("autoencoder", DIMS, dim=5, hidden=[8])
    penalty = penalties.build({"name": "contractive-estimate", "weight": 1.0})
    penalty(coded(model)).backward()
    assert all(model.first[name].weight.grad.any() for name in DIMS)
    with torch.no_grad():
        assert penalty(coded(model)) > 0


def test_the_other_penalties_are_their_formulas():
    torch.manual_seed(0)
    model = fusion.build("autoencoder", DIMS, dim=5, hidden=[], code="sigmoid")
    found = coded(model)
    code = found.code.detach().double().numpy()
    weights = [p.detach().double().numpy() for p in model.parameters() if p.dim() == 2]
    rho, on = 0.1, code.mean(axis=0)
    shares = np.abs(code) / np.abs(code).sum(axis=1, keepdims=True)
    expected = {
        "l1-codes": np.abs(code).sum(axis=1).mean(),
        "l2-codes": (code**2).sum(axis=1).mean(),
        "l1-weights": sum(np.abs(w).sum() for w in weights),
        "l2-weights": sum((w**2).sum() for w in weights),
        "kl": (rho * np.log(rho / on) + (1 - rho) * np.log((1 - rho) / (1 - on))).sum(),
        "entropy": -(shares * np.log(shares)).sum(axis=1).mean(),
    }
    for name, wanted in expected.items():
        spec = {"name": name, "rho": rho} if name == "kl" else {"name": name}
        assert value(spec, found) == pytest.approx(wanted, rel=1e-5), name
    assert set(expected) | {"contractive", "contractive-estimate"} == set(penalties.PENALTIES)


def test_penalties_of_a_dead_code_are_finite():
    zero = penalties.Coding(
        torch.zeros(3, 4, requires_grad=True), torch.zeros(3, 2), torch.ones(3, 2, dtype=torch.bool),
        MLP(2, [], 4), weights=[torch.zeros(4, 2)], layer=None,
    )  # fmt: skip
    for name in ("l1-codes", "l2-codes", "l1-weights", "kl", "entropy"):
        found = penalties.build({"name": name, "weight": 1.0})(zero)
        assert torch.isfinite(found)
        gradient, *_ = torch.autograd.grad(found + zero.code.sum(), [zero.code])
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "l1", "weight": 1}, "unknown penalty 'l1'; known: l1-codes, "),
        ({"weight": 1}, "unknown penalty None"),
        ({"name": "l1-codes"}, "penalty l1-codes: weight is missing"),
        ({"name": "l1-codes", "weight": 1, "rho": 2}, "unknown option 'rho'; known: weight"),
        ({"name": "kl", "weight": 1, "rho": 2}, "rho: expected 0 < rho < 1, got 2"),
        ({"name": "kl", "weight": -1}, "weight: expected a number >= 0, got -1"),
        ({"name": "contractive-estimate", "weight": 1, "probes": 0}, "probes: expected at least 1"),
    ],
)
def test_a_wrong_penalty_is_a_sentence(spec, message):
    with pytest.raises(ValueError, match=message):
        penalties.build(spec)


def test_gaussian_noise_has_its_deviation_and_masking_its_rate():
    torch.manual_seed(0)
    values = torch.full((200, 500), 2.0)
    noisy = corruption.gaussian(values, 0.5) - values
    assert abs(noisy.mean().item()) < 4 * 0.5 / np.sqrt(values.numel())
    assert noisy.std().item() == pytest.approx(0.5, rel=0.02)
    hidden = (corruption.masking(values, 0.3) == 0).float()
    assert abs(hidden.mean().item() - 0.3) < 4 * np.sqrt(0.21 / values.numel())
    assert torch.equal(corruption.none(values, 0.3), values)


def test_a_wrong_corruption_is_a_sentence():
    with pytest.raises(
        ValueError, match="unknown corruption 'salt'; known: none, gaussian, masking"
    ):
        corruption.check("salt", 0.1)
    with pytest.raises(ValueError, match="rate: expected 0 <= rate < 1 for masking, got 1"):
        corruption.check("masking", 1)
