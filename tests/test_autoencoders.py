"""The autoencoder family: what each option does to a trained model, and that every pattern trains."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

import fusion
from fusion import objectives
from fusion.batch import Batch, MemoryFeed
from fusion.learner import train
from fusion.restore import restore
from learning.loop import Recipe

DIMS = {"image": 12, "text": 8}


def views(rows=600, dims=DIMS, factors=3, noise=0.3, seed=0, missing=0.0):
    """Records whose features are linear views of the same hidden factors, in wild units."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, factors, generator=generator)
    features, present = {}, {}
    for number, (name, dim) in enumerate(sorted(dims.items())):
        own = torch.Generator().manual_seed(100 + number)
        mixing = torch.randn(factors, dim, generator=own)
        noisy = hidden @ mixing + noise * torch.randn(rows, dim, generator=generator)
        features[name] = 7.0 + 3.0 * noisy
        present[name] = torch.rand(rows, generator=generator) >= missing
    return Batch(features, present, (hidden[:, 0] > 0).long())


def trained(name, batch, steps=300, objective=None, loss=None, rate=1e-2, **options):
    """A fusion and its objective after a short run from seed 0."""
    torch.manual_seed(0)
    model = fusion.build(name, {n: x.shape[1] for n, x in batch.features.items()}, **options)
    chosen = objectives.build(objective or fusion.FUSIONS[name].objective, model, **(loss or {}))
    recipe = Recipe(steps=steps, batch=100, learning_rate=rate, warmup=20, evaluate=steps)
    train(model, chosen, MemoryFeed(batch), recipe)
    return model.eval(), chosen.eval()


def codes(model, batch):
    with torch.no_grad():
        return model(batch.features, batch.present).vector


def test_a_linear_autoencoder_spans_the_principal_subspace():
    batch = views(400, {"image": 10}, factors=3, noise=0.5)
    model, objective = trained(
        "autoencoder", batch, 800, dim=3, hidden=[], loss={"hidden": [], "dropout": 0}
    )
    rows = batch.features["image"].double().numpy()
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    _, _, axes = np.linalg.svd(rows, full_matrices=False)
    decoder = objective.decoders["image"].layers[0].weight.detach().double().numpy()
    basis, _ = np.linalg.qr(decoder)
    cosines = np.linalg.svd(axes[:3] @ basis, compute_uv=False)
    assert np.arccos(np.clip(cosines.min(), -1, 1)) < 0.02
    with torch.no_grad():
        loss = objective.losses(model, batch.features, batch.present)["image"].item()
    truncated = rows - rows @ axes[:3].T @ axes[:3]
    assert 1 - 1e-6 < loss / (truncated**2).mean() < 1.005  # nothing linear can do better


@pytest.mark.parametrize("name", ["autoencoder", "vae", "poe", "moe", "mopoe"])
def test_one_model_restores_each_feature_from_the_other(name):
    """Hidden text from image is far nearer to the truth than the mean is, in the units of the data."""
    batch, unseen = views(missing=0.3), views(200, seed=1)
    model, objective = trained(name, batch, 250, dim=6, hidden=[32], loss={"hidden": [32]})
    for gone in DIMS:
        present = {n: torch.full((200,), n != gone) for n in DIMS}
        features = {
            n: torch.where(present[n][:, None], x, torch.nan) for n, x in unseen.features.items()
        }
        found = restore(model, objective, features, present)
        assert found.known.all()
        assert not found.measured[gone].any()
        truth = unseen.features[gone]
        error = (found.vectors[gone] - truth).square().mean().item()
        assert error < 0.3 * truth.var(dim=0).mean().item()


def test_restoring_is_the_same_each_time_and_says_what_was_measured():
    batch = views(50, missing=0.5)
    model, objective = trained("vae", batch, 20, dim=4, hidden=[8])
    model.train(), objective.train()
    one, two = (restore(model, objective, batch.features, batch.present) for _ in range(2))
    assert model.training
    assert objective.training
    for name in DIMS:
        assert torch.equal(one.vectors[name], two.vectors[name])
        assert torch.equal(one.measured[name], batch.present[name])
    assert torch.equal(one.known, batch.present["image"] | batch.present["text"])


def test_what_has_no_decoders_restores_nothing():
    class Other(objectives.target("reconstruct").__mro__[2]):  # a bare objective
        pass

    with pytest.raises(ValueError, match="other trains no decoders, so nothing can be restored"):
        restore(fusion.build("sum", DIMS), Other(), {}, {})


def test_topk_leaves_exactly_that_many_units():
    batch = views(64)
    model = fusion.build("autoencoder", DIMS, dim=16, topk=5)
    assert (codes(model, batch) != 0).sum(dim=1).eq(5).all()
    full = fusion.build("autoencoder", DIMS, dim=16)
    full.load_state_dict(model.state_dict())
    dense = codes(full, batch)
    kept = codes(model, batch)
    least = torch.where(kept != 0, dense.abs(), torch.inf).amin(dim=1)
    assert (torch.where(kept == 0, dense.abs(), 0).amax(dim=1) <= least).all()


def test_penalties_do_what_they_are_for():
    batch = views(400)
    shape = {"dim": 12, "hidden": [], "code": "sigmoid"}

    def coded(*specs):
        model, _ = trained("autoencoder", batch, loss={"penalties": list(specs)}, **shape)
        return model, codes(model, batch)

    plain, free = coded()
    _, sparse = coded({"name": "kl", "weight": 0.5, "rho": 0.1})
    assert (sparse.mean(dim=0) - 0.1).abs().mean() < 0.5 * (free.mean(dim=0) - 0.1).abs().mean()
    _, small = coded({"name": "l1-codes", "weight": 0.05})
    assert small.abs().mean() < 0.6 * free.abs().mean()
    light, _ = coded({"name": "l1-weights", "weight": 1e-3})
    sizes = [
        torch.cat([model.first[n].weight.flatten() for n in DIMS]).abs() for model in (light, plain)
    ]
    assert (sizes[0] < 1e-2).float().mean() > 2 * (sizes[1] < 1e-2).float().mean()


def test_the_contractive_code_moves_less():
    batch = views(400)
    shape = {"dim": 6, "hidden": [16]}
    norms = []
    for specs in ([], [{"name": "contractive-estimate", "weight": 0.05}]):
        model, _ = trained("autoencoder", batch, loss={"penalties": specs}, **shape)
        values, present = model.inputs(batch.features, batch.present)
        step = {n: x + 1e-2 * torch.sign(x) for n, x in values.items()}
        with torch.no_grad():
            change = model.fuse(step, present).vector - model.fuse(values, present).vector
        norms.append(change.square().sum(dim=1).mean().item())
    assert norms[1] < 0.5 * norms[0]


def test_labels_shape_the_code_and_unlabelled_records_count_for_nothing_there():
    batch = views(400, factors=6, noise=1.0)
    labelled = Batch(batch.features, batch.present, batch.targets.clone())
    labelled.targets[200:] = -1
    accuracies = []
    for weight in (0.0, 2.0):
        loss = {"label": weight, "classes": 2}
        model, _ = trained("autoencoder", labelled, loss=loss, dim=2, hidden=[16])
        code = codes(model, batch).double().numpy()
        code = np.c_[code, np.ones(len(code))]
        sign = 2 * batch.targets.numpy() - 1
        fit, *_ = np.linalg.lstsq(code[:200], sign[:200], rcond=None)
        accuracies.append(((code[200:] @ fit > 0) == (sign[200:] > 0)).mean())
    assert accuracies[1] > accuracies[0] + 0.1

    objective = objectives.build("reconstruct", model, label=1.0, classes=2)
    vector = torch.randn(4, 2)
    targets = torch.tensor([0, -1, 1, -1])
    logits = objective.label.classifier(vector)
    expected = -torch.log_softmax(logits, dim=1)[[0, 2], [0, 1]].mean()
    torch.testing.assert_close(objective.label(vector, targets), expected)
    assert objective.label(vector, torch.full((4,), -1)).item() == 0
    with pytest.raises(ValueError, match="the label term needs a label column"):
        objective.label(vector, None)


def test_noise_reaches_the_fusion_in_training_only_and_never_the_target():
    batch = views(200)
    model = fusion.build("autoencoder", DIMS)
    objective = objectives.build("reconstruct", model, corruption="masking", rate=0.5, dropout=0)
    values, _ = objective.shown(model, batch.features, batch.present)
    assert 0.45 < torch.cat([values[n].flatten() for n in DIMS]).eq(0).float().mean() < 0.55
    objective.eval()
    clean, _ = model.inputs(batch.features, batch.present)
    shown, _ = objective.shown(model, batch.features, batch.present)
    assert all(torch.equal(clean[n], shown[n]) for n in DIMS)


@pytest.mark.parametrize("joint", ["poe", "moe", "mopoe"])
def test_the_bound_is_the_sum_of_its_terms(joint):
    """With features of equal length: -ELBO / coordinates, less the constant of the normal density."""
    dims = {"a": 4, "b": 4, "c": 4}
    batch = views(32, dims, missing=0.4)
    model = fusion.build("vae", dims, dim=3, posterior=joint)
    objective = objectives.build("elbo", model).eval()
    torch.nn.init.constant_(objective.log_variance["a"], 0.3)
    everyone = {n: torch.ones(32, dtype=torch.bool) for n in dims}
    losses = objective.losses(model, batch.features, everyone)
    with torch.no_grad():
        values, masks = model.inputs(batch.features, everyone)
        posterior = model.posterior(values, masks)
        mean, _ = posterior.moments()
        total = -posterior.kl()
        for name, decoded in objective.decode(mean).items():
            scale = torch.exp(0.5 * torch.tensor(0.3 if name == "a" else 0.0))
            total = total + Normal(decoded, scale).log_prob(values[name]).sum(dim=1)
    constant = 0.5 * np.log(2 * np.pi)
    expected = -total.mean().item() / 12 - constant
    assert sum(losses.values()).item() == pytest.approx(expected, rel=1e-3)


def test_the_variance_of_a_vae_finds_the_error_of_its_decoder():
    batch = views(400, missing=0.2)
    _, objective = trained("poe", batch, 300, dim=4, hidden=[32], loss={"dropout": 0.0})
    for name in DIMS:
        assert -4 < objective.log_variance[name].item() < -0.7  # variance explained, well below 1


def test_a_vae_knows_less_about_a_record_with_less():
    batch = views(400)
    model, _ = trained("vae", batch, 300, dim=4, hidden=[32])
    nothing = torch.zeros(400, dtype=torch.bool)
    with torch.no_grad():
        both = model(batch.features, batch.present).log_variance
        one = model(batch.features, {**batch.present, "image": nothing}).log_variance
    assert (both < one).all()  # every factor of a product adds precision


def test_a_vector_of_a_vae_is_no_sample():
    batch = views(20)
    model = fusion.build("vae", DIMS).train()
    assert torch.equal(codes(model, batch), codes(model, batch))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("autoencoder", {"activation": "swish"}, "unknown activation 'swish'; known: linear, relu"),
        ("autoencoder", {"dim": 4, "topk": 5}, "topk: expected 1 to dim = 4, got 5"),
        ("autoencoder", {"hidden": [0]}, "expected layers of at least 1 unit"),
        ("vae", {"posterior": "product"}, "unknown posterior 'product'; known: poe, moe, mopoe"),
    ],
)
def test_a_wrong_option_is_a_sentence(name, options, message):
    with pytest.raises(ValueError, match=message):
        fusion.build(name, DIMS, **options)


def test_too_many_subsets_are_refused_with_their_number():
    dims = {f"f{i}": 2 for i in range(11)}
    for name, options in (("mopoe", {}), ("vae", {"posterior": "mopoe"})):
        with pytest.raises(ValueError, match="11 features have 2047 subsets, expected at most 10"):
            fusion.build(name, dims, **options)
    assert fusion.build("vae", dims).dim == 128


@pytest.mark.parametrize(
    ("objective", "name", "loss", "message"),
    [
        ("elbo", "gmu", {}, r"elbo: needs a fusion with a posterior \(poe, moe, mopoe, vae\), got GMU"),
        ("reconstruct", "autoencoder", {"penalties": [{"name": "kl", "weight": 1}]}, "code: sigmoid"),
        ("reconstruct", "gmu", {"penalties": [{"name": "kl", "weight": 1}]}, "got code: None"),
        ("reconstruct", "autoencoder", {"penalties": [{"name": "contractive", "weight": 1}]},
         "use contractive-estimate"),
        ("reconstruct", "gmu", {"penalties": [{"name": "entropy", "weight": 1}] * 2},
         "penalties: expected each once, got entropy, entropy"),
        ("reconstruct", "gmu", {"label": 1.0}, "classes: expected at least 2"),
        ("reconstruct", "gmu", {"label": -1.0}, "label: expected a weight >= 0"),
        ("elbo", "poe", {"beta": -1.0}, "beta: expected a number >= 0"),
        ("elbo", "poe", {"corruption": "salt"}, "unknown corruption 'salt'"),
    ],
)  # fmt: skip
def test_an_objective_that_does_not_fit_is_a_sentence(objective, name, loss, message):
    with pytest.raises(ValueError, match=message):
        objectives.build(objective, fusion.build(name, DIMS), **loss)
