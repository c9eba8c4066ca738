"""Whole runs on a real Ray: what is on disk, resume, retry, refusal, accounting, other readers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from corpus import part_bytes, picture, write_corpus

from pipeline import config as configuration
from pipeline.errors import BudgetExceeded, Refused
from pipeline.ledger import Ledger
from pipeline.run import Options, retry, run
from pipeline.saved import load_saved
from pipeline.status import read_status
from pipeline.verdict import step_shares, verdict
from pipeline.verify import verify

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run of two workers, never changed by a test."""
    folder = tmp_path_factory.mktemp("done")
    config = write_corpus(folder)
    run(configuration.load(config, ["workers=2"]))
    return folder


@pytest.fixture
def copy(done, tmp_path):
    """A finished run that a test may change, with its corpus."""
    shutil.copytree(done, tmp_path / "copy", copy_function=shutil.copy2)
    return tmp_path / "copy"


def frame(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "run" / name)


def test_every_record_is_there_once_with_the_right_outcome(done):
    records = frame(done, "records").set_index("record_id")
    assert list(records.index) == [f"r{i:03d}" for i in range(60)]
    for i, row in enumerate(records.itertuples()):
        expected = "partial" if i % 12 in (3, 5) else "ok"
        assert (row.outcome, row.price, row.title) == (
            expected,
            float(i),
            f"thing {i % 6} number {i}",
        )
        wanted = (
            {"title"}
            | ({"photo"} if i % 12 not in (3, 5, 7) else set())
            | ({"sound"} if i % 5 else set())
        )
        assert set(row.present) == wanted


def test_a_vector_is_null_exactly_where_the_modality_is_absent_or_failed(done):
    photos = frame(done, "features/photo").set_index("record_id")["vector"]
    for i in range(60):
        vector = photos[f"r{i:03d}"]
        if i % 12 in (3, 5, 7):
            assert vector is None
        else:
            assert np.isfinite(vector).all()
            assert len(vector) == len(photos["r000"])


def test_errors_say_what_and_why(done):
    errors = frame(done, "errors").set_index("record_id")
    assert sorted(errors.index) == sorted(f"r{i:03d}" for i in range(60) if i % 12 in (3, 5))
    assert errors.loc["r005", "reason"] == "NOT_FOUND"
    assert errors.loc["r005", "uri"] == "photo-5.png"
    assert errors.loc["r003", "reason"] in ("DECODE_ERROR", "BAD_FORMAT")
    assert set(errors["feature"]) == {"photo"}


def test_the_fused_vector_is_the_unit_blocks_side_by_side(done):
    fused = frame(done, "fused/concat").set_index("record_id")["vector"]
    names = sorted(["photo", "title", "sound"])
    columns = {
        name: frame(done, f"features/{name}").set_index("record_id")["vector"] for name in names
    }
    dims = {name: len(columns[name].dropna().iloc[0]) for name in names}
    for record_id, vector in fused.items():
        blocks = []
        for name in names:
            own = columns[name][record_id]
            unit = np.zeros(dims[name]) if own is None else own / np.linalg.norm(own)
            blocks.append(unit * np.sqrt(1 / 3))
        np.testing.assert_allclose(vector, np.concatenate(blocks), atol=1e-6)


def test_the_audit_finds_nothing_and_the_accounting_law_holds(done):
    audit = verify(done / "run")
    assert audit.problems == []
    assert audit.garbage == []
    assert (audit.records, audit.pending) == (60, 0)
    assert dict(audit.outcomes) == {"ok": 50, "partial": 10}
    assert audit.indexes == 4


def test_the_audit_sees_a_flipped_bit_a_missing_part_and_a_stray_file(copy):
    features = sorted((copy / "run/features/title").iterdir())
    data = bytearray(features[0].read_bytes())
    data[len(data) // 2] ^= 1
    features[0].write_bytes(data)
    features[1].unlink()
    (copy / "run/features/title/part-0000009-feed.parquet").write_bytes(b"stray")
    audit = verify(copy / "run")
    assert any("digest differs" in problem for problem in audit.problems)
    assert any("missing" in problem for problem in audit.problems)
    assert audit.garbage == ["features/title/part-0000009-feed.parquet"]
    assert verify(copy / "run", clean=True).cleaned == 1


def test_running_again_computes_nothing_and_opens_no_finished_shard(copy):
    config = configuration.load(copy / "run.yaml")
    before = part_bytes(copy / "run")
    for photo in copy.glob("photo-*"):
        photo.unlink()  # a finished shard that was opened again would now fail
    assert run(config).computed == 0
    assert part_bytes(copy / "run") == before


def test_one_worker_and_two_give_the_same_bytes(done, tmp_path):
    config = write_corpus(tmp_path)
    run(configuration.load(config, ["workers=1"]), Options(("extract", "fuse")))
    assert part_bytes(tmp_path / "run") == part_bytes(done / "run")


def test_appended_rows_become_new_shards_and_the_old_parts_stay(copy):
    before = part_bytes(copy / "run")
    with (copy / "records.csv").open("a") as file:
        file.write("new1,thing 1 again,photo-0.png,,5\nnew2,thing 2 again,,,6\n")
    summary = run(configuration.load(copy / "run.yaml"))
    after = part_bytes(copy / "run")
    assert {name: after[name] for name in before} == before
    assert summary.status.records == 62
    assert verify(copy / "run").problems == []
    assert frame(copy, "records")["record_id"].tolist()[-2:] == ["new1", "new2"]


def test_an_edited_source_is_refused_and_update_takes_it_in(copy):
    text = (copy / "records.csv").read_text()
    (copy / "records.csv").write_text(text.replace("thing 2 number 2,", "quite another thing,"))
    config = configuration.load(copy / "run.yaml")
    before = part_bytes(copy / "run")
    with pytest.raises(Refused, match="records.csv.*--update"):
        run(config)
    assert part_bytes(copy / "run") == before
    run(config, Options(update=True))
    assert verify(copy / "run").problems == []
    titles = frame(copy, "records").set_index("record_id")["title"]
    assert titles["r002"] == "quite another thing"
    assert len(titles) == 60


def test_a_changed_encoder_is_refused_and_update_recomputes_only_that_modality(copy):
    changed = configuration.load(
        copy / "run.yaml",
        ["modalities.title.encoder.name=hashed-ngrams", "modalities.title.encoder.dim=64"],
    )
    with pytest.raises(Refused, match="title encoder.dim"):
        run(changed)
    before = part_bytes(copy / "run")
    for sound in copy.glob("sound-*"):
        sound.unlink()  # they must not be read again
    run(changed, Options(update=True))
    after = part_bytes(copy / "run")
    same = [name for name in before if name.startswith(("features/photo", "features/sound"))]
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert len(frame(copy, "features/title")["vector"].iloc[0]) == 64
    assert verify(copy / "run").problems == []


def test_a_modality_taken_out_leaves_nothing_behind(copy):
    path = copy / "run.yaml"
    path.write_text(path.read_text().replace("  sound:\n    kind: audio\n", ""))
    config = configuration.load(path)
    with pytest.raises(Refused, match="modalities.sound: was there, now gone"):
        run(config)
    before = part_bytes(copy / "run")
    run(config, Options(update=True))
    after = part_bytes(copy / "run")
    kept = [name for name in before if name.startswith(("features/photo", "features/title"))]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert not [name for name in after if "sound" in name]
    audit = verify(copy / "run")
    assert (audit.problems, audit.garbage, audit.indexes) == ([], [], 3)


def test_retry_touches_only_what_failed_and_gives_the_bytes_of_an_undisturbed_run(tmp_path):
    run(configuration.load(write_corpus(tmp_path / "mended")))
    rng = np.random.default_rng(9)
    mended = {f"photo-{i}.png": picture(rng) for i in (3, 5, 15)}
    for photo in (tmp_path / "mended").glob("photo-*"):
        if photo.read_bytes()[8:] != b"broken":
            photo.unlink()  # good ones must not be read again
    for name, data in mended.items():
        (tmp_path / "mended" / name).write_bytes(data)
    summary = retry(tmp_path / "mended" / "run", Options(retry=True))
    assert summary.status.errors["NOT_FOUND"] == 4
    assert verify(tmp_path / "mended" / "run").problems == []

    config = write_corpus(tmp_path / "fresh")
    for name, data in mended.items():
        (tmp_path / "fresh" / name).write_bytes(data)
    run(configuration.load(config))
    assert part_bytes(tmp_path / "mended" / "run") == part_bytes(tmp_path / "fresh" / "run")


def test_a_hopeless_job_stops_early_with_a_sentence_and_keeps_what_is_done(tmp_path):
    config = write_corpus(tmp_path, records=200)
    for photo in tmp_path.glob("photo-*"):
        photo.write_bytes(b"not a picture")
    checked = configuration.load(
        config, ["modalities={photo: {kind: image}}", "max_error_rate=0.1"]
    )
    with pytest.raises(
        BudgetExceeded, match="photo: .* items failed so far.*max_error_rate 0.1.*for example"
    ):
        run(checked)
    status = read_status(tmp_path / "run")
    assert 0 < status.outcomes["failed"] < 200 or status.pending
    assert status.pending + sum(status.outcomes.values()) == 200


def test_filtered_records_are_counted_and_not_computed(tmp_path):
    config = write_corpus(tmp_path)
    run(configuration.load(config, ["source.where=price >= 30"]), Options(("extract", "fuse")))
    records = frame(tmp_path, "records").set_index("record_id")
    assert (records["outcome"] == "filtered").sum() == 30
    titles = frame(tmp_path, "features/title").set_index("record_id")["vector"]
    assert titles["r029"] is None
    assert titles["r030"] is not None
    assert verify(tmp_path / "run").problems == []


def test_polars_duckdb_and_pyarrow_read_the_vectors_as_arrays(done):
    duckdb = pytest.importorskip("duckdb")
    polars = pytest.importorskip("polars")
    folder = done / "run/features/title"
    expected = np.stack(pd.read_parquet(folder)["vector"].to_list())
    frame_ = polars.read_parquet(f"{folder}/*.parquet")
    np.testing.assert_array_equal(frame_["vector"].to_numpy(), expected)
    rows = duckdb.sql(f"select vector from '{folder}/*.parquet'").fetchall()
    np.testing.assert_array_equal(np.asarray([row[0] for row in rows], np.float32), expected)
    column = pq.read_table(folder)["vector"].combine_chunks()
    np.testing.assert_array_equal(column.flatten().to_numpy().reshape(expected.shape), expected)


def test_status_never_starts_ray(done):
    code = (
        "import sys; sys.path.insert(0, '.');"
        "from jobs.cli import app; app(['status', sys.argv[1], '--json'], standalone_mode=False);"
        "assert 'ray' not in sys.modules, 'ray was imported'"
    )
    command = [sys.executable, "-c", code, str(done / "run")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(out)
    assert found["outcomes"] == {"ok": 50, "partial": 10, "failed": 0, "filtered": 0}
    assert (found["records"], found["pending"], found["format"]) == (60, 0, 1)


def test_workers_measure_their_steps_and_the_slowest_is_named(done):
    for marker in Ledger(done / "run").scan():
        if marker.unit.startswith("extract."):
            assert {"start", "read", "prepare", "encode", "write"} <= set(marker.spent)
            assert 0.5 * marker.seconds <= sum(marker.spent.values()) <= marker.seconds + 0.01
    saved, status = load_saved(done / "run"), read_status(done / "run")
    (modality, step), _ = next(iter(step_shares(saved, status).items()))
    assert f"{modality}.{step} " in verdict(saved, status, {"extract": 1.0})[0]


def test_extraction_alone_fuses_nothing_and_fusing_later_gives_the_same_bytes(done, tmp_path):
    config = configuration.load(write_corpus(tmp_path / "corpus"))
    extracted = run(config, Options(("extract",)))
    assert not (extracted.run / "fused").exists()
    assert not (extracted.run / "models").exists()
    run(config, Options(("fuse", "index")))
    assert part_bytes(extracted.run) == part_bytes(done / "run")
