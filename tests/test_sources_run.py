"""Whole runs over every kind of source: the same records give the same vectors, wherever they lie."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import encoders
from encoders.base import EncoderSpec
from encoders.media import Limits, decode
from pipeline import config as configuration
from pipeline.errors import ConfigError
from pipeline.run import Options, run
from pipeline.saved import load_saved
from pipeline.verify import verify

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
PHOTOS = 24


def finish(folder: Path, source: dict, modalities: dict, stages=("extract",), **settings) -> Path:
    """Run a configuration whose relative paths start at the folder; the run is sound."""
    data = {"source": source, "modalities": modalities, "output": "run", "workers": 1, **settings}
    run(configuration.parse(data, folder), Options(stages))
    audit = verify(folder / "run")
    assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)
    return folder / "run"


def records(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "records").set_index("record_id")


def vectors(run: Path, feature: str) -> pd.Series:
    return pd.read_parquet(run / "features" / feature).set_index("record_id")["vector"]


def errors(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "errors").set_index("record_id")


# ---- The same photos and captions as five kinds of source.


@pytest.fixture(scope="module")
def photos(data) -> list[tuple[str, bytes, str, int]]:
    """(name without suffix, JPEG, caption, width) of some COCO photos, sorted by name."""
    folder = data / "photos/coco_captions"
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["path"])[:PHOTOS]
    with tarfile.open(folder / "coco_captions.tar") as tar:
        return [
            (
                Path(row["path"]).stem,
                tar.extractfile(row["path"]).read(),
                row["caption_1"],
                int(row["width"]),
            )
            for row in rows
        ]


def write_files(folder: Path, photos) -> None:
    (folder / "photos").mkdir()
    for name, jpeg, _, _ in photos:
        (folder / "photos" / f"{name}.jpg").write_bytes(jpeg)


def as_csv(folder: Path, photos) -> tuple[dict, dict]:
    write_files(folder, photos)
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "photo", "caption", "width"])
        writer.writerows([n, f"photos/{n}.jpg", caption, w] for n, _, caption, w in photos)
    source = {"path": "list.csv", "id": "name", "types": {"width": "int"}}
    return source, {"image": "photo", "text": "caption"}


def as_jsonl(folder: Path, photos) -> tuple[dict, dict]:
    write_files(folder, photos)
    lines = [
        json.dumps({"name": n, "photo": f"photos/{n}.jpg", "caption": caption, "width": w})
        for n, _, caption, w in photos
    ]
    (folder / "list.jsonl").write_text("\n".join(lines))
    return {"path": "list.jsonl", "id": "name"}, {"image": "photo", "text": "caption"}


def as_parquet(folder: Path, photos) -> tuple[dict, dict]:
    names = ("name", "photo", "caption", "width")
    columns = dict(zip(names, map(list, zip(*photos, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "list.parquet", row_group_size=10)
    return {"path": "list.parquet", "id": "name"}, {"image": "photo", "text": "caption"}


def as_folder(folder: Path, photos) -> tuple[dict, dict]:
    write_files(folder, photos)
    for name, _, caption, _ in photos:
        (folder / "photos" / f"{name}.txt").write_text(caption, encoding="utf-8")
    return {"path": "photos"}, {"image": "image", "text": "txt"}


def as_tar(folder: Path, photos) -> tuple[dict, dict]:
    with tarfile.open(folder / "data-000.tar", "w") as tar:
        for name, jpeg, caption, width in photos:
            document = json.dumps({"width": width}).encode()
            for suffix, content in (("jpg", jpeg), ("txt", caption.encode()), ("json", document)):
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return {"path": "data-000.tar"}, {"image": "jpg", "text": "txt"}


WRITERS = {writer.__name__: writer for writer in (as_csv, as_jsonl, as_parquet, as_folder, as_tar)}


@pytest.fixture(scope="module")
def five(photos, tmp_path_factory) -> dict[str, Path]:
    """One finished run for each kind of source."""
    runs = {}
    for name, writer in WRITERS.items():
        folder = tmp_path_factory.mktemp(name)
        source, columns = writer(folder, photos)
        modalities = {kind: {"kind": kind, "column": column} for kind, column in columns.items()}
        runs[name] = finish(folder, source, modalities)
    return runs


@pytest.mark.parametrize("kind", WRITERS)
def test_record_ids_and_metadata_are_as_documented(five, photos, kind):
    found = records(five[kind])
    names, jpegs, captions, widths = zip(*photos, strict=True)
    prefix = "data-000/" if kind == "as_tar" else ""
    assert list(found.index) == [prefix + name for name in names]
    assert set(found["outcome"]) == {"ok"}
    assert list(found["txt" if kind in ("as_folder", "as_tar") else "caption"]) == list(captions)
    media = {
        "as_csv": ("photo", [f"photos/{name}.jpg" for name in names]),
        "as_jsonl": ("photo", [f"photos/{name}.jpg" for name in names]),
        "as_parquet": ("photo", [len(jpeg) for jpeg in jpegs]),
        "as_folder": ("image", [f"{name}.jpg" for name in names]),
        "as_tar": ("jpg", [f"data-000.tar/{name}.jpg" for name in names]),
    }
    column, expected = media[kind]
    assert list(found[column]) == expected
    if kind != "as_folder":
        assert list(found["width"]) == list(widths)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_vectors_are_those_of_the_encoders_alone(five, photos, kind):
    image = encoders.build(EncoderSpec("image", "hog-colour"))
    text = encoders.build(EncoderSpec("text", "hashed-ngrams"))
    decoded = [decode(jpeg, "image", Limits()) for _, jpeg, _, _ in photos]
    expected = {
        "image": image.encode(image.prepare(decoded)),
        "text": text.encode(text.prepare([caption for _, _, caption, _ in photos])),
    }
    for feature, matrix in expected.items():
        np.testing.assert_array_equal(np.stack(vectors(five[kind], feature)), matrix)


# ---- A table of vectors, numbers and categories.

NUMBERS = [1.5, None, -3.0, float("nan"), 1e30, 0.0]
COLOURS = ["red", "blue", None, "red", "", "green"]
POINTS = [None, [1.0, 2.0, 3.0], [4, 5, 6], [1.0, 2.0], [], [0.0, float("inf"), 0.0]]
TABLE = {
    "point": {"kind": "vector"},
    "price": {"kind": "numeric", "encoder": {"name": "number", "mean": 1.0, "scale": 2.0}},
    "colour": {
        "kind": "categorical",
        "encoder": {"name": "hashed-category", "values": ["red", "blue", "green"]},
    },
    "title": {"kind": "text"},
}


def table_columns() -> dict[str, list]:
    titles = [f"thing {i}" for i in range(6)]
    return {"point": POINTS, "price": NUMBERS, "colour": COLOURS, "title": titles}


def write_table(folder: Path, kind: str) -> dict:
    columns = table_columns()
    if kind == "parquet":
        pq.write_table(pa.table(columns), folder / "table.parquet")
        return {"path": "table.parquet"}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if kind == "jsonl":
        (folder / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return {"path": "table.jsonl"}
    for row in rows:
        row["point"] = json.dumps(row["point"]) if row["point"] is not None else ""
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return {"path": "table.csv"}


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_vectors_numbers_and_categories_of_a_table(tmp_path, kind):
    source, stages = write_table(tmp_path, kind), ("extract", "fuse")
    done = finish(tmp_path, source, TABLE, stages, max_error_rate=1)
    points = list(vectors(done, "point"))
    np.testing.assert_array_equal(np.stack(points[1:3]), [[1, 2, 3], [4, 5, 6]])
    assert [points[i] for i in (0, 3, 4, 5)] == [None] * 4
    prices = [None if v is None else float(v[0]) for v in vectors(done, "price")]
    assert prices == [0.25, None, -2.0, None, float(np.float32(5e29)), -0.5]
    colours = [None if v is None else list(v) for v in vectors(done, "colour")]
    red, blue, green = np.eye(3).tolist()
    assert colours == [red, blue, None, red, None, green]
    found = errors(done).reset_index(drop=True)
    # An empty list in a CSV is the text "[]": something is there, and it is no vector of three.
    wrong = ["BAD_FORMAT", "NON_FINITE"] if kind != "csv" else ["BAD_FORMAT"] * 2 + ["NON_FINITE"]
    assert list(found["reason"]) == wrong
    assert set(found["feature"]) == {"point"}
    assert len(vectors(done, "title").dropna()) == 6
    fused = pd.read_parquet(done / "fused/concat")["vector"]
    assert {len(vector) for vector in fused} == {3 + 1 + 3 + 1024}


def test_the_length_of_a_vector_column_is_found_and_kept(tmp_path):
    source = write_table(tmp_path, "parquet")
    done = finish(tmp_path, source, {"point": {"kind": "vector"}}, max_error_rate=1)
    saved = load_saved(done)
    assert saved.identities["point"].dim == 3
    assert saved.config.modalities["point"].encoder.options == {"dim": 3}
    again = {"point": {"kind": "vector", "encoder": {"name": "as-is", "dim": 3}}}
    finish(tmp_path, source, again, max_error_rate=1)  # the same work, so not refused


@pytest.mark.parametrize(
    "cells", [[None, None], ["", "no list"], [[], None]], ids=["nulls", "texts", "empty"]
)
def test_a_column_without_any_vector_is_one_sentence(tmp_path, cells):
    rows = [json.dumps({"point": cell, "n": i}) for i, cell in enumerate(cells)]
    (tmp_path / "table.jsonl").write_text("\n".join(rows))
    data = {
        "source": {"path": "table.jsonl"},
        "modalities": {"point": {"kind": "vector"}},
        "output": "run",
    }
    with pytest.raises(ConfigError, match=r"modalities.point: column 'point'.*no vector.*dim: N"):
        run(configuration.parse(data, tmp_path))
    assert not (tmp_path / "run").exists()


def test_cells_that_break_parsers_cost_one_vector_each(tmp_path):
    deep = "[" * 100_000
    rows = [
        {"point": [1, 2], "price": 1},
        {"point": deep, "price": 10**400},
        {"point": [10**400, 0], "price": "x" * 10_000},
        {"point": {"a": 1}, "price": [1]},
        {"point": [[1], [2, 3]], "price": {"a": 1}},
        {"point": [3, 4], "price": "7"},
    ]
    (tmp_path / "odd.jsonl").write_text("\n".join(map(json.dumps, rows)))
    modalities = {"point": {"kind": "vector"}, "price": {"kind": "numeric"}}
    done = finish(tmp_path, {"path": "odd.jsonl"}, modalities, max_error_rate=1)
    for feature, expected in (("point", [[1, 2], [3, 4]]), ("price", [[1], [7]])):
        column = list(vectors(done, feature))
        assert [v is None for v in column] == [False, True, True, True, True, False]
        np.testing.assert_array_equal(np.stack([column[0], column[-1]]), expected)
    found = errors(done)
    found = found[found["feature"] != ""]
    assert set(found["reason"]) == {"BAD_FORMAT"}
    assert found["message"].str.len().max() < 200


# ---- Sounds inside a table, and videos.


def test_sounds_in_a_parquet_column_keep_their_metadata(data, tmp_path):
    path = data / "esc10/esc10.parquet"
    modalities = {"audio": {"kind": "audio"}}
    source = {"path": str(path), "id": "path", "where": "fold == 3 and class_name == 'rooster'"}
    done = finish(tmp_path, source, modalities)
    table = pd.read_parquet(path).set_index("path")
    found = records(done)
    assert list(found.index) == list(table.index)
    assert found["fold"].equals(table["fold"])
    assert found["class_name"].equals(table["class_name"])
    assert list(found["audio"]) == [len(sound) for sound in table["audio"]]
    wanted = (table["fold"] == 3) & (table["class_name"] == "rooster")
    assert wanted.sum() > 0
    assert found["outcome"].where(wanted, "filtered").equals(found["outcome"])
    encoder = encoders.build(EncoderSpec("audio", "logmel-stats"))
    column = vectors(done, "audio")
    for name in table.index:
        if not wanted[name]:
            assert column[name] is None
            continue
        sound = decode(table.loc[name, "audio"], "audio", Limits())
        expected = encoder.encode(encoder.prepare([sound]))[0]
        np.testing.assert_array_equal(column[name], expected)


def test_every_video_has_frames_and_sound_exactly_where_there_is_a_track(data, tmp_path):
    with (data / "videos/manifest.csv").open(newline="", encoding="utf-8") as file:
        manifest = list(csv.DictReader(file))
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip"])
        writer.writerows([str(data / "videos" / row["path"])] for row in manifest)
    video = {
        "kind": "video",
        "column": "clip",
        "frames": {"every": 0.5, "max": 4, "pool": "sequence"},
        "sound": {"encoder": {"name": "logmel-stats"}},
    }
    done = finish(tmp_path, {"path": "clips.csv"}, {"video": video})
    sound, frames = vectors(done, "video.sound"), vectors(done, "video.frames")
    for i, row in enumerate(manifest):
        assert (sound.iloc[i] is not None) == (row["has_audio"] == "True"), row["path"]
        matrix = np.stack(frames.iloc[i])
        assert np.isfinite(matrix).all()
        assert 1 <= len(matrix) <= 4
    assert not list((done / "errors").glob("*"))
    assert set(records(done)["outcome"]) == {"ok"}
