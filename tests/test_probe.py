"""Precision at planning: real items are gathered, the choice is recorded, kept and guarded."""

import dataclasses
import wave

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from corpus import write_corpus

import encoders
from encoders import precision
from encoders.agreement import least_cosine
from encoders.media.types import Waveform
from pipeline import cluster, probe
from pipeline import config as configuration
from pipeline.describe import describe, source_spec
from pipeline.errors import ConfigError, Refused
from pipeline.place import settle, unsettled
from pipeline.plan import make_plan
from pipeline.run import Options, run
from pipeline.saved import Setting, load_saved
from pipeline.sources import open_source

AMX = {"amx_bf16", "amx_tile"}


def planned(folder, records=60, overrides=()):
    """A configuration and its plan, without Ray."""
    config = configuration.load(write_corpus(folder, records), overrides)
    plan = folder / "run" / "plan"
    make_plan(open_source(source_spec(config), plan), plan, records=16, bytes=10**9)
    return config


def gathered(config, name):
    feature = next(feature for feature in config.features() if feature.name == name)
    encoder = encoders.build(feature.encoder)
    return probe.gather(feature, config, source_spec(config), encoder), encoder


def test_probes_are_the_usable_items_in_order(tmp_path):
    items, encoder = gathered(planned(tmp_path), "title")
    titles = [f"thing {i % 6} number {i}" for i in range(60)]
    expected = encoder.encode(encoder.prepare(titles))
    np.testing.assert_array_equal(encoder.encode(items), expected)


def test_broken_missing_and_absent_media_are_no_probes(tmp_path):
    items, _ = gathered(planned(tmp_path, 24), "photo")
    assert len(items) == sum(i % 12 not in (3, 5, 7) for i in range(24))


def test_of_a_sound_the_middle_is_a_probe(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "SECONDS", 0.25)
    items, encoder = gathered(planned(tmp_path, 24), "sound")
    expected = []
    for path in sorted(tmp_path.glob("sound-*.wav"), key=lambda path: int(path.stem[6:])):
        with wave.open(str(path)) as file:
            rate, count = file.getframerate(), file.getnframes()
            samples = np.frombuffer(file.readframes(count), np.int16) / 32768
        assert count > rate // 4
        start = (count - rate // 4) // 2
        part = samples[start : start + rate // 4].astype(np.float32)
        expected += encoder.prepare([Waveform(part, rate)])
    np.testing.assert_array_equal(encoder.encode(items), encoder.encode(expected))


def test_filtered_records_are_no_probes(tmp_path):
    items, _ = gathered(planned(tmp_path, overrides=["source.where=price >= 40"]), "title")
    assert len(items) == 20


def test_gathering_stops_when_there_are_enough(tmp_path):
    config = planned(tmp_path, 300, ["modalities={title: {kind: text}}"])
    items, _ = gathered(config, "title")
    assert len(items) == precision.PROBES


def test_gathering_looks_at_so_many_rows_only(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "ROWS", 10)
    assert len(gathered(planned(tmp_path), "title")[0]) == 10


def measured(config):
    feature = config.features("title")[0]
    return probe.measure(feature, config, source_spec(config), "cpu")


def test_half_precision_is_chosen_by_what_real_items_give(small_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: AMX)
    monkeypatch.setattr(precision, "gain", lambda: 4.0)
    config = planned(tmp_path / "large", 280, small_bert)
    setting, record = measured(config)
    assert record["asked"] == "auto"
    assert record["hardware"] == "bf16"
    assert record["probes"] == precision.PROBES
    assert 0.99 < record["least_cosine"] < 1.0  # it was computed in bf16: not equal, and close
    kept = record["least_cosine"] >= precision.COSINE and record["recall"] >= precision.RECALL
    assert setting.precision == ("bf16" if kept else "fp32")
    assert record["precision"] == setting.precision


def test_a_small_corpus_stays_in_fp32_and_says_why(small_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: AMX)
    monkeypatch.setattr(precision, "gain", lambda: 4.0)
    setting, record = measured(planned(tmp_path / "small", 20, small_bert))
    assert setting == Setting("fp32", "cpu")
    assert record == {
        "asked": "auto",
        "hardware": "bf16",
        "probes": 20,
        "least_cosine": None,
        "recall": None,
        "precision": "fp32",
    }


def test_a_corpus_too_small_to_gain_is_not_probed(small_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: AMX)
    monkeypatch.setattr(precision, "gain", lambda: 4.0)
    config = planned(tmp_path / "small", 20, small_bert)
    monkeypatch.setattr(cluster, "once", lambda *_: pytest.fail("a worker was asked"))
    feature = config.features("title")[0]
    setting, record = probe.settle(feature, config, source_spec(config), "cpu", remote=False)
    assert setting == Setting("fp32", "cpu")
    assert record == {"asked": "auto", "records": 20, "precision": "fp32"}


def test_where_it_can_t_pay_nothing_is_read_or_started(small_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", set)
    path = write_corpus(tmp_path / "c", 5)
    config = configuration.load(path, small_bert)  # there is no plan to read
    feature = config.features("title")[0]
    setting, record = probe.settle(feature, config, source_spec(config), "cpu", remote=False)
    assert setting == Setting("fp32", "cpu")
    assert record == {"asked": "auto", "hardware": "fp32", "precision": "fp32"}


def test_fp16_on_a_cpu_is_refused_at_planning(small_bert, tmp_path):
    config = configuration.load(write_corpus(tmp_path / "c", 5), [*small_bert, "precision=fp16"])
    feature = config.features("title")[0]
    with pytest.raises(ConfigError, match=r"^precision: .*fp16 needs a GPU; choose auto"):
        probe.settle(feature, config, source_spec(config), "cpu", remote=False)


def test_a_setting_is_kept_until_its_encoder_or_precision_changes(small_bert, tmp_path):
    config = configuration.load(write_corpus(tmp_path / "c", 5), small_bert)
    record = {"asked": "auto", "precision": "bf16"}
    first = settle(describe(config, {}), None, lambda _: (Setting("bf16", "cpu"), record))
    assert first.settings == {"title": Setting("bf16", "cpu"), "photo": Setting("fp32", "cpu")}
    assert first.provenance["precision"] == {"title": record}

    again = describe(config, first.settings)
    assert unsettled(again, first) == []
    kept = settle(again, first, lambda _: pytest.fail("a settled feature was tried again"))
    assert kept.to_yaml() == first.to_yaml()

    other = dataclasses.replace(first.identities["title"], dim=7)
    changed = dataclasses.replace(again, identities={**again.identities, "title": other})
    assert [feature.name for feature in unsettled(changed, first)] == ["title"]
    exact = describe(config.model_copy(update={"precision": "fp32"}), first.settings)
    assert [feature.name for feature in unsettled(exact, first)] == ["title"]


@pytest.mark.ray
def test_a_worker_measures(two_cpus, small_bert, tmp_path):
    config = planned(tmp_path / "c", 5, small_bert)
    arguments = (config.features("title")[0], config, source_spec(config), "cpu")
    setting, record = cluster.once(
        probe.measure, arguments, cluster.resources_on("cpu"), "title: trying half precision"
    )
    assert setting == Setting("fp32", "cpu")  # five items are too few on any machine
    assert record["precision"] == "fp32"
    assert record["asked"] == "auto"


@pytest.mark.ray
def test_a_precision_that_was_asked_for_is_used_recorded_kept_and_guarded(
    two_cpus, small_bert, tmp_path
):
    path = write_corpus(tmp_path / "c", 20)
    vectors = {}
    for wanted in ("fp32", "bf16"):
        asked = [*small_bert, f"precision={wanted}", f"output={wanted}"]
        summary = run(configuration.load(path, asked), Options(("extract",)))
        column = pq.read_table(summary.run / "features/title")["vector"]
        vectors[wanted] = np.stack(column.to_pylist())
    assert not np.array_equal(vectors["fp32"], vectors["bf16"])
    assert least_cosine(vectors["fp32"], vectors["bf16"]) > 0.99

    saved = load_saved(summary.run)
    assert saved.settings["title"] == Setting("bf16", "cpu")
    assert saved.settings["photo"] == Setting("fp32", "cpu")  # no network: it has no precision
    text = (summary.run / "config.yaml").read_text()
    record = yaml.safe_load(text)["provenance"]["precision"]
    assert record == {"title": {"asked": "bf16", "precision": "bf16"}}

    assert run(configuration.load(path, asked), Options(("extract",))).computed == 0
    assert (summary.run / "config.yaml").read_text() == text
    asked[-2] = "precision=fp32"
    with pytest.raises(Refused, match="setting.precision: was 'bf16', now 'fp32'"):
        run(configuration.load(path, asked), Options(("extract",)))
    updated = run(configuration.load(path, asked), Options(("extract",), update=True))
    column = pq.read_table(updated.run / "features/title")["vector"]
    np.testing.assert_array_equal(np.stack(column.to_pylist()), vectors["fp32"])


def test_a_video_counts_as_several_items(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: AMX)
    monkeypatch.setattr(precision, "gain", lambda: 4.0)
    monkeypatch.setattr(precision, "WORTH", 100)
    monkeypatch.setattr(probe, "measure", lambda feature, *_: (feature.name, "tried"))
    modalities = "modalities={{photo: {{kind: video, frames: {{max: {most}}}, sound: {{}}}}}}"
    for most, tried in ((1, False), (8, True), (64, True)):
        config = planned(tmp_path / str(most), 20, [modalities.format(most=most)])
        spec = source_spec(config)
        frames, sound = config.features()
        _, record = probe.settle(frames, config, spec, "cpu", remote=False)
        assert (record == "tried") == tried
        _, record = probe.settle(sound, config, spec, "cpu", remote=False)
        assert record != "tried"
