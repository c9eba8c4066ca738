"""What operators spare: layers on absent rows, and intermediate tensors that need not exist."""

import pytest
import torch
from patterns import every_pattern, first, options_of
from torch import nn

import fusion
from fusion import compaction
from fusion.bilinear_form import BilinearForm
from fusion.compaction import Values, apply
from fusion.per_feature import PerFeature
from fusion.sketch import sketch_of_product
from learning.meter import Meter

RUNNING = {"image": 2048, "text": 768}  # with 256 records and 512 outputs: the sizes of the tables


def step(model, features, present):
    leaves = {n: x.clone().requires_grad_() for n, x in features.items()}
    model.zero_grad(set_to_none=True)
    vector = model(leaves, present).vector
    slope = torch.linspace(-1, 1, vector.shape[1], dtype=vector.dtype, device=vector.device)
    (vector * slope).sum().backward()
    gradients = [p.grad for p in model.parameters()] + [x.grad for x in leaves.values()]
    return [vector.detach(), *(g for g in gradients if g is not None)]


@pytest.mark.parametrize("name", sorted(fusion.FUSIONS))
def test_leaving_absent_rows_out_changes_no_vector_and_no_gradient(name, monkeypatch):
    """Property g, in float64."""
    options = options_of(fusion.options_type(name))
    torch.manual_seed(0)
    model = fusion.build(name, first(2), **options).double().eval()
    features, present = every_pattern(model.dims, repeat=4, dtype=torch.float64)
    compact = step(model, features, present)
    monkeypatch.setattr(compaction, "WORTH_IT", 0.0)
    dense = step(model, features, present)
    for one, other in zip(compact, dense, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_layer_sees_the_present_rows_and_one_of_zeros():
    seen = []

    class Spy(nn.Module):
        def forward(self, rows):
            seen.append(len(rows))
            return rows + 1

    present = {"v": torch.arange(100) % 2 == 0, "w": torch.ones(100, dtype=torch.bool)}
    values = Values(
        {n: torch.where(m[:, None], torch.ones(100, 3), 0) for n, m in present.items()}, present
    )
    mapped = PerFeature({"v": Spy(), "w": Spy()})(values)
    assert seen == [51, 100]
    assert all(torch.equal(mapped[n], values[n] + 1) for n in mapped)
    steps = torch.zeros(4, 2, dtype=torch.bool)
    steps[1, 0] = True
    sequences = Values({"v": steps[..., None].float().expand(4, 2, 3)}, {"v": steps})
    assert torch.equal(apply(Spy(), sequences, "v"), sequences["v"] + 1)
    assert seen[-1] == 2


def test_half_the_records_absent_is_little_more_than_half_the_arithmetic():
    model = fusion.build("sum", RUNNING, dim=512)
    features = {n: torch.randn(64, d) for n, d in RUNNING.items()}
    counts = []
    for every in (1, 2):
        present = {n: torch.arange(64) % every == 0 for n in RUNNING}
        with Meter() as meter:
            step(model, features, present)
        counts.append(meter.flops)
    assert counts[1] <= 0.6 * counts[0]


@pytest.mark.parametrize("name", ["multiplicative-matrix", "bilinear"])
def test_a_bilinear_operator_needs_little_beside_its_weight(name):
    """No (B, D, dim) tensor, which would take 403 MB, in neither pass. On the meta device."""
    with torch.device("meta"):
        model = fusion.build(name, RUNNING, dim=512)
        features = {n: torch.empty(256, d) for n, d in RUNNING.items()}
        present = {n: torch.ones(256, dtype=torch.bool) for n in RUNNING}
    with Meter() as meter:
        step(model, features, present)
        gradients = sum(p.grad.numel() * p.grad.element_size() for p in model.parameters())
    assert meter.peak - gradients <= 50e6


def test_low_rank_fusion_keeps_ten_megabytes_of_activations():
    model = fusion.build("lmf", RUNNING, dim=512, rank=4)
    model.scaling = PerFeature({n: nn.Identity() for n in RUNNING})
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    features = {n: torch.randn(256, d) for n, d in RUNNING.items()}
    present = {n: torch.ones(256, dtype=torch.bool) for n in RUNNING}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(features, present)
    for parameter in model.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    assert sum(kept.values()) <= 10e6


def test_a_thousand_subsets_never_lie_in_memory_together():
    """For ten features one tensor of all of them would take 134 MB."""
    dims = {f"f{i}": 4 for i in range(10)}
    cost = fusion.describe("mopoe", dims, dim=128, hidden=[], training=True)
    assert cost.peak_bytes <= 67e6


def test_a_bilinear_form_in_slices_equals_einsum(monkeypatch):
    monkeypatch.setattr("fusion.bilinear_form.SLICE", 3 * 5 * 8 * 2)  # two outputs at a time
    torch.manual_seed(0)
    form = BilinearForm(5, 4, 7).double()
    left, right = (torch.randn(3, d, dtype=torch.float64, requires_grad=True) for d in (5, 4))
    expected = torch.einsum("bi,kij,bj->bk", left, form.weight, right)
    torch.testing.assert_close(form(left, right), expected)
    assert torch.autograd.gradcheck(lambda *x: form(*x), (left, right))
    torch.testing.assert_close(
        torch.autograd.grad(form(left, right).square().sum(), form.weight),
        torch.autograd.grad(expected.square().sum(), form.weight),
    )
    wide = nn.Bilinear(5, 4, 7, bias=False).double()
    wide.weight = form.weight
    torch.testing.assert_close(form(left, right), wide(left, right))


@pytest.mark.parametrize(("count", "size"), [(1, 8), (2, 8), (3, 7)])
def test_the_gradient_of_a_product_of_spectra(count, size):
    torch.manual_seed(0)
    rows = [torch.randn(2, size, dtype=torch.float64, requires_grad=True) for _ in range(count)]
    assert torch.autograd.gradcheck(lambda *given: sketch_of_product(given), rows)
