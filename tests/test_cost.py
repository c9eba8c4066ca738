"""What an operator costs is told before it is built, and agrees with what it really uses."""

import dataclasses
import json
import resource

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from typer.testing import CliRunner

import fusion
from fusion.cost import size
from jobs.cli import app
from learning.meter import Meter

DIMS = {"image": 96, "text": 64}
SMALL = {"image": 256, "text": 192}
TRAINED = sorted(name for name, entry in fusion.FUSIONS.items() if entry.objective)
EXAMPLE = {"image": 2048, "text": 768}


def allocated(work, folder):
    """The most bytes that torch's allocator had handed out at once while `work` ran."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    trace = folder / "trace.json"
    profiler.export_chrome_trace(str(trace))
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["name"] == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        live += event["args"]["Bytes"]
        peak = max(peak, live)
    return peak


def options_of(name):
    fields = {field.name for field in dataclasses.fields(fusion.options_type(name))}
    return {"classes": 10} if "classes" in fields else {}


def a_batch(dims, rows):
    """Everything present, the dearest case: rows that are absent everywhere may be left out."""
    features = {name: torch.randn(rows, dim) for name, dim in dims.items()}
    return features, {name: torch.ones(rows, dtype=torch.bool) for name in dims}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("concat", 0),
        ("sum", 512 * (2048 + 768 + 2)),
        ("gmu", 2 * 512 * (2048 + 768) + 512 * (2048 + 768) + 512 * 4),
    ],
)
def test_parameters_are_those_of_the_formula(name, parameters):
    options = {} if name == "concat" else {"dim": 512}
    cost = fusion.describe(name, EXAMPLE, **options)
    assert cost.parameters == parameters
    assert cost.dim == (2816 if name == "concat" else 512)


def test_describing_a_giant_takes_no_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cost = fusion.describe("tucker", EXAMPLE, dim=1600, hidden=1600)
    factors, core, out = 1600 * (2048 + 768 + 2), 1600**3, 1600 * 1601
    assert cost.parameters == factors + core + out  # 4.1 billion: the default of the public code
    assert cost.peak_bytes > 4 * core
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    )  # kilobytes, of 16 GB


def test_a_giant_is_refused_with_the_rank_that_fits():
    with pytest.raises(
        ValueError, match=r"tucker needs 11\d GB .*what fits: .*hidden: \d+ \(.* GB\)"
    ):
        fusion.afford("tucker", EXAMPLE, memory=2 * 10**9, hidden=1600)


@pytest.mark.parametrize("name", sorted(fusion.FUSIONS))
def test_the_peak_of_a_forward_pass_is_what_torch_allocates(name, tmp_path):
    options = options_of(name)

    def work():
        model = fusion.build(name, DIMS, **options).eval()
        with torch.no_grad():
            model(*a_batch(DIMS, 256))

    told = fusion.describe(name, DIMS, **options)
    used = allocated(work, tmp_path)
    # Attention is one fused kernel on a CPU; a meta tensor goes through its plain steps.
    attention = "sequences" in fusion.FUSIONS[name].needs
    assert 0.85 * used <= told.peak_bytes <= (1.35 if attention else 1.15) * used


@pytest.mark.parametrize("name", TRAINED)
def test_the_peak_of_training_is_what_torch_allocates(name, tmp_path):
    options = options_of(name)
    told = fusion.describe(name, SMALL, batch=128, training=True, **options)
    if not told.parameters:
        pytest.skip("a closed form: nothing is trained step by step")

    def work():
        model = fusion.build(name, SMALL, **options)
        best = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(parameters)
        for _ in range(2):
            optimiser.zero_grad()
            model(*a_batch(SMALL, 128)).vector.sum().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
        return best

    assert told.peak_bytes == pytest.approx(allocated(work, tmp_path), rel=0.15)


def test_real_tensors_and_meta_tensors_cost_the_same():
    model = fusion.build("gmu", DIMS)
    features, present = a_batch(DIMS, 32)
    with Meter() as real:
        model(features, present).vector.sum().backward()
    model.zero_grad(set_to_none=True)
    model.to("meta")
    features = {name: tensor.to("meta") for name, tensor in features.items()}
    present = {name: tensor.to("meta") for name, tensor in present.items()}
    with Meter() as meta:
        model(features, present).vector.sum().backward()
    assert (real.flops, real.peak) == (meta.flops, meta.peak)


def test_arithmetic_is_counted_by_the_formula():
    a, b = torch.randn(3, 5, device="meta"), torch.randn(5, 7, device="meta")
    with Meter() as product:
        _ = a @ b
    with Meter() as transform:
        torch.fft.irfft(torch.fft.rfft(torch.randn(4, 1024)))
    with Meter() as sums:
        (a + a).sum()
    assert product.flops == 2 * 3 * 5 * 7
    # One value each for the random numbers (no operation of ours), the two transforms and nothing else.
    assert transform.flops == pytest.approx(2 * 2.5 * 4 * 1024 * 10, rel=0.05)
    assert sums.flops == 15 + 15


def test_the_meter_forgets_what_has_died():
    with Meter() as meter:
        kept = torch.zeros(1000)
        for _ in range(10):
            (kept + 1).view(10, 100).sum().item()
    assert meter.live == 4000
    assert 8000 <= meter.peak <= 8100


def test_more_records_cost_more_and_weights_do_not():
    one, many = fusion.describe("gmu", DIMS, batch=1), fusion.describe("gmu", DIMS, batch=1000)
    assert one.parameters == many.parameters
    assert one.peak_bytes < many.peak_bytes
    assert 990 < many.flops / one.flops < 1010


def test_what_fits_is_told_and_fits():
    with pytest.raises(
        ValueError, match=r"gmu needs .* GB \(.* parameters\).*budget is 1 GB"
    ) as err:
        fusion.afford("gmu", EXAMPLE, memory=10**9, dim=200_000)
    dim = int(str(err.value).rpartition("dim: ")[2].split()[0])
    assert fusion.afford("gmu", EXAMPLE, memory=10**9, dim=dim).peak_bytes <= 10**9
    with pytest.raises(ValueError, match="what fits"):
        fusion.afford("gmu", EXAMPLE, memory=10**9, dim=dim + 1)


def test_beyond_64_bits_and_beyond_every_option():
    with pytest.raises(ValueError, match=r"2\^63 bytes.*what fits: dim"):
        fusion.afford("sum", EXAMPLE, memory=10**9, dim=2**61)
    five = dict.fromkeys("abcde", 1000)  # a core of 1600^6 weights
    with pytest.raises(ValueError, match=r"2\^63 bytes.*what fits: hidden: \d+"):
        fusion.afford("tucker", five, memory=10**9, hidden=1600)
    with pytest.raises(ValueError, match="no smaller option fits"):
        fusion.afford("sum", EXAMPLE, memory=1000)


def test_the_users_mistakes_are_told_as_ever():
    with pytest.raises(ValueError, match="unknown fusion 'nope'"):
        fusion.describe("nope", DIMS)
    with pytest.raises(ValueError, match="sum: unknown option 'rank'; known: dim"):
        fusion.describe("sum", DIMS, rank=3)


def test_building_on_meta_leaves_the_default_device_alone():
    fusion.describe("gmu", DIMS)
    assert nn.Linear(2, 2).weight.device.type == "cpu"


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999 B"), (1500, "1.5 kB"), (999_999, "1 MB"), (16_400_000_000, "16.4 GB")],
)
def test_sizes_are_readable(count, text):
    assert size(count) == text


def polyfuse(*arguments):
    return CliRunner().invoke(app, ["fusions", *arguments])


def test_the_command_tells_a_program_and_a_person():
    asked = ["gmu", "--dims", "image=2048, text=768", "--option", "dim=512"]
    (told,) = json.loads(polyfuse(*asked, "--json").stdout)
    cost = fusion.describe("gmu", EXAMPLE, dim=512)
    assert (told["parameters"], told["peak_bytes"]) == (cost.parameters, cost.peak_bytes)
    assert told["training"]["peak_bytes"] > told["peak_bytes"]
    assert f"{cost.parameters:,}" in polyfuse(*asked).stdout
    every = json.loads(polyfuse("--dims", "a=4,b=4", "--json").stdout)
    assert {row["name"] for row in every} >= {"concat", "sum", "gmu"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "unknown fusion 'nope'"),
        (["sum", "--dims", "image"], "expected NAME=VALUE"),
        (["sum", "--dims", "image=x"], "expected a length"),
        (["sum", "--dims", "a=4", "--option", "rank=4"], "unknown option 'rank'"),
        (["sum", "--option", "dim=4"], "give them too"),
    ],
)
def test_the_command_explains_a_mistake(arguments, said):
    answer = polyfuse(*arguments)
    assert answer.exit_code == 2
    assert said in " ".join(answer.output.split())
