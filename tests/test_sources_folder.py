"""Media folders against a plain walk, and what belongs to them."""

import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.plan import Plan, make_plan
from pipeline.sources import Member, SourceSpec, open_source, row_metadata


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def plan_and_read(path, folder, *columns, records=4096):
    source = open_source(SourceSpec(str(path), columns=columns))
    make_plan(source, folder, records=records, bytes=10**9)
    again = open_source(SourceSpec(str(path), columns=columns), folder)
    return {
        row.record_id: row.cells
        for shard in Plan.open(folder).shards()
        for row in again.read(shard)
    }


def test_records_are_files_of_one_name(tmp_path):
    root = write(
        tmp_path / "in",
        {
            "a.jpg": "1",
            "a.txt": "\ufeffa caption",
            "b.v2.PNG": "2",
            "sub/a.jpeg": "3",
            "sub/c.wav": "4",
            "README.md": "no record",
            ".hidden.jpg": "no record",
            ".cache/d.jpg": "no record",
            "only.txt": "text alone",
        },
    )
    found = plan_and_read(root, tmp_path / "plan", "image", "text", "wav")
    assert found == {
        "a": {"image": "a.jpg", "text": "a caption", "wav": None},
        "b.v2": {"image": "b.v2.PNG", "text": None, "wav": None},
        "only": {"image": None, "text": "text alone", "wav": None},
        "sub/a": {"image": "sub/a.jpeg", "text": None, "wav": None},
        "sub/c": {"image": None, "text": None, "wav": "sub/c.wav"},
    }
    assert Plan.open(tmp_path / "plan").schema == pa.schema(
        [("image", pa.string()), ("text", pa.string()), ("wav", pa.string())]
    )


NAME = st.text("ab-.!0", min_size=1, max_size=4).filter(lambda name: not name.startswith("."))


@settings(deadline=None, max_examples=60)
@given(st.sets(st.lists(NAME, min_size=1, max_size=3).map("/".join), min_size=1, max_size=12))
def test_every_file_is_planned_once_and_a_second_planning_agrees(tmp_path_factory, stems):
    top = tmp_path_factory.mktemp("walk")
    for stem in stems:
        try:
            write(top / "in", {f"{stem}.jpg": "x"})
        except (NotADirectoryError, IsADirectoryError, FileExistsError):
            continue
    walked = (Path(folder, name) for folder, _, names in os.walk(top / "in") for name in names)
    expected = {str(path.relative_to(top / "in").with_suffix("")) for path in walked}
    found = plan_and_read(top / "in", top / "plan", "jpg", records=2)
    assert found.keys() == expected
    assert sorted(found, key=lambda key: key.split("/")) == list(found)
    source = open_source(SourceSpec(str(top / "in"), columns=("jpg",)))
    assert make_plan(source, top / "plan", records=2, bytes=10**9).unchanged


def test_two_files_for_one_column_are_refused(tmp_path):
    root = write(tmp_path / "in", {"s/a.jpg": "1", "s/a.png": "2"})
    with pytest.raises(
        ConfigError, match=r"s/a.jpg and s/a.png are both the 'image' of one record"
    ):
        plan_and_read(root, tmp_path / "plan", "image")
    assert plan_and_read(root, tmp_path / "plan", "png", "jpg").keys() == {"s/a"}


def test_links_and_special_files(tmp_path):
    root = write(tmp_path / "in", {"a.jpg": "1", "sub/b.jpg": "2"})
    write(tmp_path, {"outside.jpg": "secret", "out/c.jpg": "secret"})
    (root / "inside.jpg").symlink_to(root / "a.jpg")
    (root / "leaves.jpg").symlink_to(tmp_path / "outside.jpg")
    (root / "folder").symlink_to(tmp_path / "out")
    (root / "loop").symlink_to(root)
    (root / "broken.jpg").symlink_to(root / "nothing.jpg")
    os.mkfifo(root / "pipe.jpg")
    assert plan_and_read(root, tmp_path / "plan", "jpg").keys() == {"a", "inside", "sub/b"}


def test_a_text_that_is_not_utf8_fails_alone(tmp_path):
    root = write(tmp_path / "in", {"a.jpg": "1"})
    (root / "a.txt").write_bytes(b"\xff\xfe")
    cells = plan_and_read(root, tmp_path / "plan", "jpg", "txt")["a"]
    assert cells["jpg"] == "a.jpg"
    assert cells["txt"] == Member(str(root / "a.txt"), 0, 2, "a.txt")


def test_names_that_no_table_can_hold(tmp_path):
    root = write(tmp_path / "in", {"a.jpg": "1"})
    try:
        (Path(os.fsdecode(os.fsencode(root) + b"/\xff.jpg"))).write_text("x")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    with pytest.raises(ConfigError, match="not valid UTF-8; rename"):
        plan_and_read(root, tmp_path / "plan", "jpg")


def test_wrong_columns_and_options(tmp_path):
    root = write(tmp_path / "in", {"a.jpg": "1", "b.wav": "2"})
    with pytest.raises(
        ConfigError, match=r"no file for 'video'.*there are: .jpg \(1\), .wav \(1\)"
    ):
        plan_and_read(root, tmp_path / "plan", "image", "video")
    with pytest.raises(ConfigError, match="id and types are for tables"):
        open_source(SourceSpec(str(root), id="sku", columns=("jpg",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty"):
        open_source(SourceSpec(str(tmp_path / "empty"), columns=("jpg",)))


def test_a_folder_of_media_with_a_table_in_it_is_a_media_folder(tmp_path):
    root = write(tmp_path / "in", {"photos/a.jpg": "1", "labels.csv": "a,b\n"})
    assert plan_and_read(root, tmp_path / "plan", "jpg").keys() == {"photos/a"}


def test_real_videos_equal_a_listing(data, tmp_path):
    folder = data / "videos" / "files"
    found = plan_and_read(folder, tmp_path / "plan", "mp4")
    expected = sorted(path for path in os.listdir(folder) if path.endswith(".mp4"))
    assert [cells["mp4"] for cells in found.values()] == expected
    source = open_source(SourceSpec(str(folder), columns=("mp4",)), tmp_path / "plan")
    plan = Plan.open(tmp_path / "plan")
    row = next(source.read(next(plan.shards())))
    assert row_metadata(plan.schema, row).values == {"mp4": expected[0]}
