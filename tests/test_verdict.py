import dataclasses
import time

import pytest
from corpus import write_corpus

from pipeline import config as configuration
from pipeline.describe import describe
from pipeline.saved import Setting
from pipeline.status import Stage, Status
from pipeline.stopwatch import Stopwatch
from pipeline.verdict import step_shares, verdict


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return describe(configuration.load(write_corpus(tmp_path_factory.mktemp("c"), 5)), {})


def status(saved, **spent):
    """Of a run whose workers spent these seconds: modality={step: seconds}."""
    stages = [Stage(f"extract.{name}", 5, spent=steps) for name, steps in spent.items()]
    return Status(saved.config.output, 5, {}, stages, [])


def network(saved, precision, device="cpu", **record):
    """The same run, its pictures by a network."""
    spec = dataclasses.replace(saved.config.features("photo")[0].encoder, name="transformers")
    photo = saved.config.modalities["photo"].model_copy(update={"encoder": spec})
    config = saved.config.model_copy(
        update={"modalities": saved.config.modalities | {"photo": photo}}
    )
    return dataclasses.replace(
        saved,
        config=config,
        settings={**saved.settings, "photo": Setting(precision, device)},
        provenance={"precision": {"photo": record}},
    )


def test_shares_are_of_all_workers_time_and_add_up(saved):
    shares = step_shares(
        saved, status(saved, photo={"decode": 6.0, "encode": 2.0}, title={"encode": 4.0})
    )
    assert list(shares) == [("photo", "decode"), ("title", "encode"), ("photo", "encode")]
    assert shares["photo", "decode"] == pytest.approx(0.5)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_who_waited_for_what_is_said_with_what_to_do(saved):
    spent = status(saved, photo={"decode": 6.3, "encode": 3.0, "write": 0.6, "read": 0.1})
    assert verdict(saved, spent, {"extract": 5.0}) == [
        "photo.encode waited for photo.decode 63% of the workers' time (beside it photo.encode 30%, "
        "photo.write 6%): give it more cores, or store smaller media: they are decoded on the CPU"
    ]


@pytest.mark.parametrize(
    ("setting", "record", "words"),
    [
        (("bf16",), {"asked": "auto"}, "more cores, a GPU or a smaller model make it faster"),
        (("fp32",), {"asked": "fp32"}, "because the configuration says so"),
        (("fp32",), {"asked": "auto", "hardware": "fp32"}, "this processor gains nothing"),
        (("fp32",), {"asked": "auto", "records": 40}, "the corpus is too small to try"),
        (("fp32",), {"asked": "auto", "hardware": "bf16", "least_cosine": 0.98909}, "(least cosine 0.9891)"),
        (("bf16", "cuda"), {"asked": "auto"}, "the GPU is busy"),
    ],
)  # fmt: skip
def test_a_busy_network_gets_the_advice_that_fits_its_setting(saved, setting, record, words):
    spent = {"photo": {"encode": 9.0, "decode": 1.0}}
    (sentence,) = verdict(
        network(saved, *setting, **record), status(saved, **spent), {"extract": 5}
    )
    assert sentence.startswith(
        "photo.encode took 90% of the workers' time (beside it photo.decode 10%)"
    )
    assert words in sentence


def test_loading_the_model_is_no_waiting(saved):
    (sentence,) = verdict(
        saved, status(saved, photo={"start": 3.0, "encode": 1.0}), {"extract": 4.0}
    )
    assert sentence == (
        "photo.start took 75% of the workers' time (beside it photo.encode 25%): the model is loaded "
        "once per worker, however large the corpus: this one is small"
    )


def test_a_command_that_mostly_starts_says_so(saved):
    spent = status(saved, photo={"encode": 1.0})
    assert verdict(saved, spent, {"plan": 1.0, "ray": 4.0, "extract": 3.0})[-1] == (
        "5 s of 8 s went into starting: larger corpora cost it once, too"
    )


def test_a_command_that_tries_precisions_for_long_is_told_how_to_do_without(saved):
    spent, seconds = status(saved, photo={"encode": 1.0}), {"precision": 4.0, "extract": 12.0}
    said = verdict(network(saved, "bf16", asked="auto"), spent, seconds)
    assert said[1:] == [
        "4 s of 16 s went into trying precisions: `precision: bf16` with `runtime: torch` in the "
        "configuration gives the same vectors at once, and is not checked on another corpus"
    ]
    assert len(verdict(network(saved, "bf16"), spent, seconds | {"extract": 20.0})) == 1
    assert len(verdict(network(saved, "bf16", "cuda"), spent, seconds)) == 1  # batches were tried


def test_nothing_measured_gives_no_verdict(saved):
    assert verdict(saved, status(saved), {"extract": 1.0}) == []


def test_a_stopwatch_is_at_one_step_at_a_time():
    started = time.perf_counter()
    watch = Stopwatch("read")
    time.sleep(0.02)
    watch.to("decode")
    watch.to("read")
    time.sleep(0.01)
    spent = watch.seconds()
    assert set(spent) == {"read", "decode"}
    assert 0.03 <= spent["read"] <= sum(spent.values()) + 0.002
    assert sum(spent.values()) <= time.perf_counter() - started + 0.002
