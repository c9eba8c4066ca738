"""A whole run over hostile media: it ends, and every file is a vector or one error with a reason."""

import csv
import re
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from corpus import part_bytes

from encoders.media.errors import Reason
from pipeline import config as configuration
from pipeline.run import Options, run
from pipeline.verify import verify

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
KINDS = ("image", "audio", "video")
FEATURES = {"image": ["image"], "audio": ["audio"], "video": ["video.frames", "video.sound"]}
VECTORS = Options(("extract", "fuse"))


def listed(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def corpus(data, tmp_path_factory):
    """{path: kind}, and the folder with records.csv over 683 malformed files and 170 pictures."""
    folder = tmp_path_factory.mktemp("hostile")
    with tarfile.open(data / "malformed/malformed.tar") as tar:
        tar.extractall(folder / "malformed")
    kinds = {
        f"malformed/{row['path']}": row["kind"] for row in listed(data / "malformed/manifest.csv")
    }
    mixed = data / "photos/mixed_formats"
    kinds |= {str(mixed / row["path"]): "image" for row in listed(mixed / "manifest.csv")}
    with (folder / "records.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *KINDS, "caption"])
        for path, kind in kinds.items():
            cells = [path if kind == column else "" for column in KINDS]
            writer.writerow([path, *cells, f"the {kind} {Path(path).stem}"])
    return kinds, folder


def hostile(folder: Path, output: str, workers: int) -> configuration.RunConfig:
    modalities = {kind: {"kind": kind} for kind in KINDS}
    modalities["video"] |= {"frames": {"max": 8}, "sound": {}}
    settings = {
        "source": {"path": "records.csv", "id": "id"},
        "modalities": {**modalities, "caption": {"kind": "text"}},
        "output": output,
        "shard": {"records": 64},
        "limits": {"bytes": "32MB", "pixels": "50M", "seconds": 60, "item_timeout": 20},
        "max_error_rate": 1,
        "workers": workers,
    }
    return configuration.parse(settings, folder)


@pytest.fixture(scope="module")
def done(corpus):
    kinds, folder = corpus
    run(hostile(folder, "run", workers=2), VECTORS)
    return kinds, folder / "run"


def column(run: Path, feature: str) -> pd.Series:
    return pd.read_parquet(run / "features" / feature).set_index("record_id")["vector"]


def test_every_file_is_one_record_in_the_order_of_the_table(done):
    kinds, folder = done
    records = pd.read_parquet(folder / "records")
    assert len(kinds) == 683 + 170
    assert records["record_id"].tolist() == list(kinds)


def test_every_file_is_a_finite_vector_or_one_error_for_each_feature(done):
    kinds, folder = done
    errors = pd.read_parquet(folder / "errors")
    assert not errors.duplicated(["record_id", "feature"]).any()
    explained = set(zip(errors["record_id"], errors["feature"], strict=True))
    for kind in KINDS:
        for feature in FEATURES[kind]:
            for path, vector in column(folder, feature).items():
                failed = (path, feature) in explained
                if vector is not None:
                    assert kinds[path] == kind
                    assert np.isfinite(vector).all()
                    assert not failed
                elif feature == "video.sound":  # a video may have no sound
                    assert kinds[path] == kind or not failed
                else:
                    assert failed == (kinds[path] == kind), (path, feature)


def test_outcomes_follow_from_vectors_and_errors(done):
    _, folder = done
    errors = set(pd.read_parquet(folder / "errors")["record_id"])
    records = pd.read_parquet(folder / "records").set_index("record_id")
    for path, record in records.iterrows():
        assert "caption" in record["present"]
        assert record["outcome"] == ("partial" if path in errors else "ok")


def test_reasons_are_of_the_closed_list_and_messages_are_for_people(done):
    _, folder = done
    errors = pd.read_parquet(folder / "errors")
    assert set(errors["reason"]) <= {str(reason) for reason in Reason}
    assert not set(errors["reason"]) & {"CRASH", "MODEL_ERROR", "BAD_ROW", "NOT_FOUND"}
    assert set(errors["stage"]) <= {"fetch", "decode", "encode"}
    for message in errors["message"]:
        assert message.strip() == message != ""
        assert not re.search(r"0x[0-9a-f]{6}|/tmp|\n|pid", message), message


def test_every_picture_of_a_known_format_has_a_vector(done, data):
    _, folder = done
    pictures = column(folder, "image")
    mixed = data / "photos/mixed_formats"
    missing = {
        row["path"]: row["format"]
        for row in listed(mixed / "manifest.csv")
        if pictures[str(mixed / row["path"])] is None
    }
    assert set(missing.values()) <= {"HEIF"}, missing


def test_the_audit_finds_nothing(done):
    _, folder = done
    audit = verify(folder)
    assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)


def test_one_worker_gives_the_same_bytes_as_two(done, corpus):
    _, folder = done
    run(hostile(corpus[1], "alone", workers=1), VECTORS)
    assert part_bytes(corpus[1] / "alone") == part_bytes(folder)
