"""OpenVINO beside torch: when it is taken, when it is not, and what guards it. That its vectors are
those of torch, for every encoder, is in test_contract_encoders."""

import importlib

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from corpus import write_corpus
from test_encoders_text import WORDS
from test_probe import AMX, planned

import encoders
from encoders import openvino, precision
from encoders.agreement import least_cosine
from encoders.base import EncoderSpec
from encoders.openvino import Compiled
from pipeline import config as configuration
from pipeline import probe
from pipeline.describe import describe, source_spec
from pipeline.errors import ConfigError, Refused
from pipeline.run import Options, run
from pipeline.saved import Setting, load_saved


class Turning(torch.nn.Module):
    """Its output turns with the length of its rows, which a trace takes for a constant."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        mixed = torch.arange(8.0) * values.sum(1, keepdim=True) + values[:, :8] ** 2
        return torch.roll(mixed, int(values.shape[1]) // 8, 1)


def test_a_shape_that_the_trace_gets_wrong_is_left_to_torch():
    module, random = Turning(), torch.Generator().manual_seed(0)
    compiled = Compiled(module, "fp32")
    for rows, width in ((4, 8), (2, 16), (1, 8), (4, 24)):
        values = torch.rand(rows, width, generator=random)
        torch.testing.assert_close(compiled(values=values), module(values), rtol=1e-5, atol=1e-5)
    trusted = {shapes[0][1][0]: agrees for shapes, agrees in compiled._agrees.items()}
    assert trusted == {8: True, 16: False, 24: False}


class Counting(torch.nn.Module):
    """Its output turns with the number of rows."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.roll(values, int(values.shape[0]), 1)


def test_so_is_a_network_whose_rows_know_how_many_they_are():
    compiled, random = Compiled(Counting(), "fp32"), torch.Generator().manual_seed(0)
    for rows in (4, 2, 8):
        values = torch.rand(rows, 5, generator=random)
        torch.testing.assert_close(compiled(values=values), torch.roll(values, rows, 1))


class Noting(torch.nn.Module):
    """Notes how many rows torch was given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(values))
        return values * 2


def test_torch_computes_few_rows_of_a_batch():
    """A batch in fp32 may take longer than to convert and compile the network."""
    module, values = Noting(), torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Compiled(module, "fp32")(values=values), values * 2)
    assert 0 < sum(module.rows) < 8


class Two(torch.nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first - 2 * second


def test_inputs_are_known_by_their_names():
    compiled, one = Compiled(Two(), "fp32"), torch.ones(2, 4)
    assert torch.equal(compiled(second=one, first=3 * one), one)
    assert torch.equal(Compiled(Two(), "fp32")(first=3 * one, second=one), one)


class Cancelling(torch.nn.Module):
    """(R, T) -> (R, T, 3) vectors of tokens; what is left of the second number is rounding alone."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        large = torch.stack([values * 3 + 1, values * 0, values + 2], -1)
        small = torch.where(torch.tensor(torch.jit.is_tracing()), 1e-6, -1e-6)
        return large + torch.tensor([0.0, 1.0, 0.0]) * small


def test_vectors_of_tokens_are_compared_token_by_token():
    """Along a dimension that is all but zero, a column of tokens would point anywhere."""
    compiled = Compiled(Cancelling(), "fp32")
    compiled(values=torch.rand(2, 16, generator=torch.Generator().manual_seed(0)))
    assert set(compiled._agrees.values()) == {True}


class Either(torch.nn.Module):
    def forward(self, first: torch.Tensor, second=None, third=None) -> torch.Tensor:
        return first - second if third is None else first + third


def test_inputs_of_other_names_are_another_network():
    compiled, one = Compiled(Either(), "fp32"), torch.ones(2, 4)
    for _ in range(2):
        assert torch.equal(compiled(first=one, second=one), torch.zeros(2, 4))
        assert torch.equal(compiled(first=one, third=one), torch.full((2, 4), 2.0))


def test_its_use_is_reported_to_nobody(monkeypatch):
    """OpenVINO's own way to convert a network does, unless the user has refused."""
    importlib.import_module("openvino")  # asks for it too, before there is anything to report
    begun = []
    monkeypatch.setattr("openvino_telemetry.main.Telemetry.init", lambda *_: begun.append(1))
    Compiled(Two(), "fp32")(first=torch.ones(1, 4), second=torch.ones(1, 4))
    assert not begun


def test_what_it_can_t_compute_is_said_before_any_work(monkeypatch):
    with pytest.raises(ValueError, match=r"computes in fp32 \| bf16, not fp16"):
        Compiled(Two(), "fp16")
    monkeypatch.setattr(openvino, "installed", lambda: False)
    with pytest.raises(ValueError, match=r"not installed; pip install 'polyfuse\[openvino\]'"):
        Compiled(Two(), "fp32")


def asked(tmp_path, small_bert, *overrides):
    config = configuration.load(write_corpus(tmp_path / "c", 5), [*small_bert, *overrides])
    return config.features("title")[0], config, source_spec(config)


def test_texts_side_by_side_do_not_see_each_other(small_bert, tmp_path):
    """By a trace they are told apart by a mask, which has to hold for rows of any length."""
    spec = asked(tmp_path, small_bert)[0].encoder
    by_torch, by_openvino = (encoders.build(spec, runtime=name) for name in ("torch", "openvino"))
    random = np.random.default_rng(0)
    counts = [3, 300, 40, 1, 270, *random.integers(1, 250, 60)]
    prepared = by_torch.prepare([" ".join(random.choice(WORDS, count)) for count in counts])
    alone = np.concatenate([by_torch.encode([item]) for item in prepared])
    for some in (slice(0, 6), slice(None)):  # few are computed one by one
        np.testing.assert_allclose(by_openvino.encode(prepared[some]), alone[some], atol=1e-5)


def test_asked_for_and_impossible_is_a_sentence(small_bert, tmp_path, monkeypatch):
    wanted = asked(tmp_path, small_bert, "runtime=openvino", "precision=fp32")
    with pytest.raises(ConfigError, match="runtime: openvino computes on CPUs; choose auto"):
        probe.settle(*wanted, "cuda", remote=False)
    monkeypatch.setattr(openvino, "installed", lambda: False)
    with pytest.raises(ConfigError, match="runtime: openvino is not installed; pip install"):
        probe.settle(*wanted, "cpu", remote=False)


@pytest.fixture
def gaining(monkeypatch):
    """A processor that gains by bf16, and vectors that may be as far off as they like."""
    monkeypatch.setattr(precision, "cpu_flags", lambda: AMX)
    monkeypatch.setattr(precision, "gain", lambda: 4.0)
    monkeypatch.setattr(precision, "COSINE", 0.9)
    monkeypatch.setattr(precision, "RECALL", 0.5)


def settled(tmp_path, small_bert, *overrides):
    config = planned(tmp_path / "large", precision.WORTH, [*small_bert, *overrides])
    feature = config.features("title")[0]
    return probe.settle(feature, config, source_spec(config), "cpu", remote=False)


def test_it_is_taken_where_half_precision_passes_with_it(gaining, small_bert, tmp_path):
    setting, record = settled(tmp_path, small_bert)
    assert setting == Setting("bf16", "cpu", "openvino")
    assert (record["precision"], record["runtime"]) == ("bf16", "openvino")


def test_torch_is_tried_after_it(gaining, small_bert, tmp_path, monkeypatch):
    def fail(*_):
        raise TypeError("no such operation")

    monkeypatch.setattr(Compiled, "_convert", fail)
    setting, record = settled(tmp_path, small_bert)
    assert setting == Setting("bf16", "cpu")
    assert record["runtime"] == "torch"


@pytest.mark.parametrize("why", ["told", "missing"])
def test_it_is_not_taken(why, gaining, small_bert, tmp_path, monkeypatch):
    if why == "missing":
        monkeypatch.setattr(openvino, "installed", lambda: False)
    setting, _ = settled(tmp_path, small_bert, *(["runtime=torch"] if why == "told" else []))
    assert setting == Setting("bf16", "cpu")


def test_a_run_of_torch_is_what_it_was_before_there_was_a_choice(small_bert, tmp_path):
    config = configuration.load(write_corpus(tmp_path / "c", 5), small_bert)
    assert Setting("bf16", "cpu").to_dict() == {"precision": "bf16", "device": "cpu"}
    by_torch, other = (
        describe(config, {"title": Setting("fp32", "cpu", runtime)})
        for runtime in ("torch", "openvino")
    )
    assert by_torch.work("title") != other.work("title")
    assert by_torch.work("photo") == other.work("photo")


@pytest.mark.ray
def test_a_run_by_it_is_close_recorded_and_guarded(two_cpus, small_bert, tmp_path):
    path = write_corpus(tmp_path / "c", 20)
    vectors = {}
    for runtime in ("torch", "openvino"):
        wanted = [*small_bert, "precision=fp32", f"output={runtime}", f"runtime={runtime}"]
        summary = run(configuration.load(path, wanted), Options(("extract",)))
        column = pq.read_table(summary.run / "features/title")["vector"]
        vectors[runtime] = np.stack(column.to_pylist())
    assert not np.array_equal(vectors["torch"], vectors["openvino"])
    assert least_cosine(vectors["torch"], vectors["openvino"]) > 0.99999
    assert load_saved(summary.run).settings["title"] == Setting("fp32", "cpu", "openvino")
    assert run(configuration.load(path, wanted), Options(("extract",))).computed == 0
    with pytest.raises(Refused, match="setting.runtime: was 'openvino'"):
        run(configuration.load(path, [*wanted[:-1], "runtime=torch"]), Options(("extract",)))


def test_encoders_that_are_no_networks_have_no_runtime():
    spec = EncoderSpec("text", "hashed-ngrams")
    assert encoders.build(spec).dim == encoders.identify(spec).dim
