"""The speed benchmark's arithmetic, its generated corpora, its watch over processes, its page."""

import copy
import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from benchmarks.speed import __main__ as bench
from benchmarks.speed import cases, corpora, goals, meter, parts, processor, summary, systems, trial
from benchmarks.speed.page import page
from benchmarks.speed.picture import picture
from pipeline import config

RATE = 100.0  # of a run that is made up
PROCESSOR = "Some CPU family 7; amx_bf16"


# -- rates


def batches(start: float, first: float, each: float, items: int, count: int) -> list[dict]:
    """What a worker notes that needs `first` seconds before its first batch moves."""
    events, begun = [], start
    for number in range(count):
        finish = (start + first if number == 0 else begun) + each
        events.append({"start": begun, "finish": finish, "items": items})
        begun = finish
    return events


@pytest.mark.parametrize("start_up", [0.0, 7.0, 30.0])
def test_two_even_workers_have_the_sum_of_their_rates_whatever_start_up_took(start_up):
    one = batches(0.0, start_up, 1.0, 10, 20)
    other = batches(0.0, start_up, 0.5, 10, 40)
    assert summary.steady(one + other) == pytest.approx(10 / 1.0 + 10 / 0.5, rel=0.02)


def test_start_up_does_not_count_in_a_first_batch_that_is_long_either():
    one = batches(0.0, 5.0, 1.0, 10, 40)
    long = {"start": 0.0, "finish": 5.0 + 8.0, "items": 80}
    other = batches(long["finish"], 0.0, 1.0, 10, 32)
    assert summary.steady([*one, long, *other]) == pytest.approx(20)


def test_waiting_for_the_last_worker_counts():
    even = [{"start": n, "finish": n + 1, "items": 10} for n in range(10)]
    late = {"start": 10, "finish": 20, "items": 10}
    assert summary.steady([*even, late]) == pytest.approx(100 / 19)


def test_batches_that_are_all_first_ones_have_the_rate_of_the_whole():
    assert summary.steady([{"start": 3.0, "finish": 5.0, "items": 8}]) == 4.0
    pair = [{"start": 0.0, "finish": 4.0, "items": 8}, {"start": 1.0, "finish": 5.0, "items": 8}]
    assert summary.steady(pair) == pytest.approx(16 / 5)


def test_shards_of_ours_are_noted_by_modality():
    markers = [
        SimpleNamespace(unit=unit, rows=rows, finished=9.0, seconds=2.0, spent={"encode": 1.5})
        for unit, rows in (("extract.text", 8), ("records", 8), ("extract.image", 4))
    ]
    times = {"start": 7.0, "finish": 9.0, "spent": {"encode": 1.5}}
    found = trial.events_of(SimpleNamespace(scan=lambda: iter(markers)))
    assert found == {"text": [times | {"items": 8}], "image": [times | {"items": 4}]}


def test_steps_in_turn_take_the_time_of_all():
    assert summary.in_turn([30.0, 60.0]) == pytest.approx(20.0)
    assert summary.in_turn([7.0]) == pytest.approx(7.0)


def test_the_share_of_time_in_a_step_leaves_start_up_out_and_counts_waiting():
    first = [{"start": 0.0, "finish": 9.0, "spent": {"start": 8.0, "encode": 1.0}}] * 2
    even = [{"start": 9.0 + n, "finish": 10.0 + n, "spent": {"encode": 0.9}} for n in range(10)]
    late = {"start": 9.0, "finish": 14.0, "spent": {"encode": 4.0, "decode": 0.5}}
    # Of twice ten seconds the first worker is in it for nine, the second for four, and then it waits.
    assert summary.share([[*first, *even, late]], ("encode",), 2) == pytest.approx(13 / 20)
    assert summary.share([[*first, *even, late]], ("decode", "encode"), 2) == pytest.approx(
        13.5 / 20
    )
    # Twice ten seconds of one thing, then once nine of another: each counts by its time.
    alone = [{"start": 0.0, "finish": 9.0, "spent": {"encode": 9.0}}]
    phases = [[*first, *even, late], alone]
    assert summary.share(phases, ("encode",), 2) == pytest.approx((13 + 9) / (20 + 18))


def test_two_sizes_give_a_rate_without_start_up():
    assert summary.marginal(7 + 100 / 5, 100, 7 + 8 / 5, 8) == pytest.approx(5)
    assert summary.marginal(7, 100, 7, 8) is None


def test_a_spread_is_the_median_and_the_range():
    assert summary.Spread.of([3.0, 1.0, 10.0]) == summary.Spread(3.0, 1.0, 10.0)


# -- accuracy


def test_accuracy_is_that_of_a_loop_over_all_pairs():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((40, 8)).astype(np.float32)
    vectors = reference + 0.3 * rng.standard_normal((40, 8)).astype(np.float32)

    def cosine(a, b):
        a, b = a.astype(float), b.astype(float)
        return sum(a * b) / math.sqrt(sum(a * a) * sum(b * b))

    def nearest(rows, n):
        others = [m for m in range(len(rows)) if m != n]
        return set(sorted(others, key=lambda m: -cosine(rows[n], rows[m]))[:10])

    cosines = [cosine(a, b) for a, b in zip(vectors, reference, strict=True)]
    shared = [len(nearest(vectors, n) & nearest(reference, n)) / 10 for n in range(40)]
    found = summary.accuracy(vectors, reference)
    assert found["least"] == pytest.approx(min(cosines))
    assert found["mean"] == pytest.approx(np.mean(cosines))
    assert found["least"] <= found["p1"] <= found["mean"]
    assert found["recall"] == pytest.approx(np.mean(shared))


def test_length_changes_no_accuracy():
    rows = np.random.default_rng(1).standard_normal((20, 4))
    found = summary.accuracy(rows * 7, rows)
    assert found["least"] == pytest.approx(1)
    assert found["recall"] == 1


# -- corpora


def test_lengths_are_log_normal_and_the_same_again():
    lengths = corpora.skewed_lengths(20_000)
    assert np.array_equal(lengths, corpora.skewed_lengths(20_000))
    assert abs(np.median(lengths) - 40) <= 1
    assert lengths.max() == 512
    logs = np.log(lengths[lengths < 512])
    assert abs(logs.mean() - np.median(logs)) < 0.05  # symmetric: no tail on one side


def test_texts_cost_exactly_what_was_wanted():
    costs = np.random.default_rng(0).integers(1, 5, 5000)
    words = ["abcd"[:cost] for cost in costs]
    lengths = corpora.skewed_lengths(200)
    texts = corpora.passages(lengths, words, costs)
    counted = [2 + sum(len(word) for word in text.split()) for text in texts]
    assert counted == lengths.tolist()
    assert texts == corpora.passages(lengths, words, costs)
    assert len(set(texts)) > 150


def test_pictures_and_sounds_are_the_same_again_and_differ_from_each_other():
    photos = [np.random.default_rng(n).integers(0, 256, (60, 80, 3), np.uint8) for n in range(2)]
    first, again, other = (np.asarray(corpora.picture(photos, n, 50, 40)) for n in (0, 0, 1))
    assert first.shape == (40, 50, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    sounds = [corpora.sound(n) for n in (0, 0, 1)]
    assert np.array_equal(sounds[0], sounds[1])
    assert all(3 * corpora.RATE - 1 <= len(sound) <= 60 * corpora.RATE for sound in sounds)


@pytest.mark.parametrize("case", cases.CASES.values(), ids=cases.CASES.keys())
def test_the_configuration_of_every_case_is_valid_and_says_nothing_about_speed(case, tmp_path):
    models = {modality: Path("model") for modality in case.models}
    content = systems.configuration(case, tmp_path / "table.csv", models, tmp_path / "run")
    assert content.keys() == {"source", "modalities", "output"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    loaded = config.load(tmp_path / "run.yaml")
    assert loaded.precision == "auto"
    assert loaded.workers == "auto"
    assert [feature.modality for feature in loaded.features()] == sorted(case.models)


def test_every_system_of_a_case_is_known_and_ours_comes_first():
    for case in cases.CASES.values():
        assert set(case.systems) <= systems.SYSTEMS.keys()
        assert case.systems[0] == goals.OURS
        least_share = max(system.share for system in systems.SYSTEMS.values())
        assert case.items / least_share > summary.NEIGHBOURS  # or recall means nothing
    with pytest.raises(ValueError, match="unknown case 'T9'; known: T1, "):
        cases.named(["T9"])


@pytest.mark.parametrize("budget", [1, 40, 200])
def test_batches_hold_everything_once_within_the_budget(budget):
    costs = np.random.default_rng(2).integers(1, 60, 100).tolist()
    found = parts.batches(costs, budget)
    assert sorted(place for batch in found for place in batch) == list(range(100))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(costs[place] for place in batch) <= budget


# -- processes


def test_memory_and_time_of_a_child_count(tmp_path):
    child = "x = bytearray(200_000_000); y = sum(n * n for n in range(6_000_000))"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    usage = meter.measure([sys.executable, "-c", program], tmp_path / "log", timeout=60)
    assert usage.failure == ""
    assert 200_000_000 < usage.peak < 400_000_000
    assert 0 < usage.cpu < usage.seconds * 4


def test_a_failure_is_its_last_line_and_one_that_hangs_is_ended(tmp_path):
    fails = [sys.executable, "-c", "print('before'); raise SystemExit('no model there')"]
    assert meter.measure(fails, tmp_path / "log", timeout=60).failure == "no model there"
    advises = [sys.executable, "-c", "raise ImportError('no codec\\nRestart.')"]
    assert meter.measure(advises, tmp_path / "log", timeout=60).failure == "ImportError: no codec"
    below = [sys.executable, "-c", "raise ImportError('\\nno codec\\nRestart.')"]
    assert meter.measure(below, tmp_path / "log", timeout=60).failure == "ImportError: no codec"
    hangs = [sys.executable, "-c", "import time; time.sleep(100)"]
    assert meter.measure(hangs, tmp_path / "log", timeout=1).failure == "not done after 1 s"


# -- the page


def run(rate: float, items: int = 1000) -> dict:
    worth = {"least": 0.9995, "p1": 0.9997, "mean": 0.9999, "recall": 0.99, "compared": 256}
    usage = {"seconds": 8 + items / rate, "cpu": 20.0, "peak": 2**31, "load": 0.1}
    usage |= {"products": 100 * rate / RATE, "share": 0.9 * rate / RATE}
    return {**usage, "items": items, "rate": rate, "accuracy": worth}


def row(name: str, *rates: float, reason: str = "") -> dict:
    runs = [run(rate) for rate in rates]
    return {"name": name, "threads": "one", "cold": runs[:1], "runs": runs, "reason": reason}


def results() -> dict:
    case = {**vars(cases.CASES["T1"]), "date": "2026-01-01", "commit": "abc"}
    found = [
        row("polyfuse", RATE, 1.1 * RATE, 0.9 * RATE),
        row("polyfuse, OpenVINO", 1.5 * RATE),
        row("sentence-transformers", 0.25 * RATE),
        row("sentence-transformers, bf16", RATE),
        row("sentence-transformers, OpenVINO", 2 * RATE),
        row("Daft", reason="can't be\ninstalled: `no` wheel"),
    ]
    core = {
        "decode": 1e-3,
        "plain": None,
        "fp32": 0.04,
        "bf16": 0.01,
        "openvino": 0.005,
        "rows": {"text": 8},
    }
    about = {"command": "x", "date": "2026-01-01", "machine": "m", "versions": {"torch": "2"}}
    measured = {"case": case, "systems": found, "parts": [core, core]}
    return about | {"processor": PROCESSOR, "cases": {"T1": measured}}


def test_every_record_has_a_file_of_its_own_name(tmp_path):
    made = []

    def make(number, path):
        made.append(number)
        path.write_bytes(bytes([number]))

    rows = list(corpora._files(tmp_path, 5, "image", "jpg", make, distinct=2))
    assert made == [0, 1]
    assert [Path(row["image"]).stem for row in rows] == [row["id"] for row in rows]
    assert [Path(row["image"]).read_bytes() for row in rows] == [bytes([n % 2]) for n in range(5)]


def test_a_few_records_cost_what_all_cost_on_average(tmp_path):
    draw = np.random.default_rng(3)
    sizes = draw.lognormal(9, 0.8, 500).astype(int)
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.wav").write_bytes(bytes(size))
    rows = [{"id": str(n), "audio": str(tmp_path / f"{n}.wav")} for n in range(500)]
    few = [sizes[int(row["id"])] for row in corpora.like_all(rows, 25)]
    assert len(few) == 25
    assert np.mean(few) == pytest.approx(np.mean(sizes), rel=0.03)
    texts = [{"id": str(n), "text": "x" * size} for n, size in enumerate(sizes)]
    assert [row["id"] for row in corpora.like_all(texts, 2)] == [
        str(place) for place in np.argsort(sizes, kind="stable")[[125, 375]]
    ]


def test_a_case_that_is_lost_stays_in_the_table():
    said = page(results())
    begins = "| T1 | sentence-transformers"
    assert f"{begins} | 4.00 | 6.00 | 16.00 | 3.5 | reached |" in said
    assert f"{begins}, bf16 | 1.00 | 1.50 | 4.00 | 1.25 | reached with OpenVINO |" in said
    assert f"{begins}, OpenVINO | 0.50 | 0.75 | 2.00 | 1.25 | missed |" in said


def test_what_the_network_alone_would_miss_is_out_of_reach():
    told = results()
    for core in told["cases"]["T1"]["parts"]:
        core |= {"bf16": 0.01, "openvino": 0.01}
    row = "| T1 | sentence-transformers, OpenVINO | 0.50 | 0.75 | 1.00 | 1.25 | missed: out of reach |"
    assert row in page(told)
    told["cases"]["T1"]["parts"] = []
    assert "| T1 | sentence-transformers, OpenVINO | 0.50 | 0.75 |  | 1.25 | missed |" in page(told)


def test_how_even_the_machine_was_and_where_workers_spent_their_time_are_told():
    said = page(results())
    assert "products of one core in bf16 25 to 200 GFLOP/s." in said
    (line,) = [line for line in said.splitlines() if line.startswith("| T1 | 2,000")]
    assert line.endswith("| 0.50 | 0.92 | missed | 0.90 |")
    older = results()
    for one in older["cases"]["T1"]["systems"]:
        for measured in one["runs"]:
            del measured["products"], measured["share"]
    assert "GFLOP/s" not in page(older)
    assert "| 0.50 | 0.92 | missed |  |" in page(older)


def test_whole_runs_stand_beside_the_best_of_the_others():
    told = results()
    for one, seconds in zip(told["cases"]["T1"]["systems"], (8, 5, 10, 4, 20), strict=False):
        for measured in one["runs"]:
            measured |= {"seconds": seconds, "items": 40}
    row = "| T1 | 8,000 | 5 | 8 |  | sentence-transformers, bf16 | 10 |"
    assert row in page(told)


def test_a_system_that_is_not_there_is_a_reason_on_one_line():
    assert "\nDaft: no number. `can't be installed: 'no' wheel`\n" in page(results())


def test_pages_of_no_numbers_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["speed", "--tables"])
    monkeypatch.setattr(bench.results, "RESULTS", tmp_path)
    with pytest.raises(SystemExit, match="no numbers in .*: run without --tables"):
        bench.main()


def test_a_run_that_fails_is_repeated_and_told(capsys):
    fails = iter(["it raced", "", "", "gone", "gone", "gone"])
    case = cases.CASES["T1"]

    class Unsteady:
        def __init__(self):
            self.case = case

        def run(self, system, *, small):
            return run(RATE) | {"failure": next(fails)}

    peer = bench._row("Daft")
    for where in ("runs", "cold"):
        bench._add(peer, where, Unsteady(), small=where == "cold")
    assert (len(peer["runs"]), len(peer["cold"]), peer["failures"]) == (1, 1, ["it raced"])
    told = results()
    told["cases"]["T1"]["systems"][-1] = peer
    assert "\nDaft: 1 of 3 runs failed, and were repeated. `it raced`\n" in page(told)
    bench._add(peer, "runs", Unsteady(), small=False)
    assert peer["reason"] == "gone"
    bench._add(peer, "runs", Unsteady(), small=False)  # not asked again
    assert "\nDaft: no number. `gone`\n" in page(told)


def test_our_share_of_the_ceiling_is_of_both_cores():
    ceilings = goals.Ceilings.of(results()["cases"]["T1"]["parts"])
    assert ceilings.bf16 == pytest.approx(200)
    assert ceilings.fp32 == pytest.approx(50)
    assert ceilings.bound == pytest.approx(2 / 0.011)
    assert "| 200 | 182 | 100 | 0.50 | 0.92 | missed |" in page(results())
    assert "| 400 | 333 | 150 | 0.38 | 0.92 | missed |" in page(results())


def test_each_processor_has_a_page_and_a_picture_of_its_own():
    assert processor.slug(PROCESSOR) == "some_cpu_family_7_amx_bf16"
    said = page(results())
    assert said.startswith(f"# Speed: polyfuse beside others on {PROCESSOR}\n")
    assert "](speed_some_cpu_family_7_amx_bf16.svg)" in said
    assert processor.slug(processor.name()).isidentifier()


def test_the_picture_has_a_bar_for_every_rate():
    drawn = ElementTree.fromstring(picture(results()))
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text and text.endswith("%")] == [
        "50%",
        "75%",
        "12%",
        "50%",
        "100%",
    ]
    empty = copy.deepcopy(results())
    empty["cases"]["T1"]["parts"] = []
    ElementTree.fromstring(picture(empty))
