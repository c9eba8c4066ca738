"""Tar shards against tarfile reading the whole archive."""

import io
import json
import tarfile
from itertools import groupby

import pytest

from pipeline.errors import ConfigError
from pipeline.plan import Plan, make_plan
from pipeline.sources import Member, SourceSpec, open_source, row_metadata


def write_tar(path, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def plan_and_read(path, folder, *columns, records=4096, only=None):
    source = open_source(SourceSpec(str(path), columns=columns))
    make_plan(source, folder, records=records, bytes=10**9)
    again = open_source(SourceSpec(str(path), columns=columns), folder)
    shards = list(Plan.open(folder).shards())
    return {row.record_id: row.cells for shard in shards for row in again.read(shard, only)}


def content(cell):
    with open(cell.path, "rb") as file:
        file.seek(cell.offset)
        return file.read(cell.size)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_of_one_key_are_a_record(tmp_path, form):
    long = "d" * 60 + "/" + "n" * 70
    members = [
        ("./a.b.jpg", b"1"),
        ("./a.txt", "caf\u00e9".encode()),
        ("sub.dir/x.JPG", b"two"),
        ("sub.dir/x.json", b'{"width": 3, "tags": [1], "ok": true}'),
        (f"{long}.jpg", b"33"),
        (f"{long}.cls", b"7"),
    ]
    write_tar(tmp_path / "data-00.tar", members, form)
    found = plan_and_read(tmp_path / "data-00.tar", tmp_path / "plan", "jpg", "txt")
    path = str(tmp_path / "data-00.tar")
    assert list(found) == ["data-00/a", "data-00/sub.dir/x", f"data-00/{long}"]
    a, x, n = found.values()
    assert (a["jpg"], a["txt"]) == (None, "caf\u00e9")  # its extension is b.jpg
    assert content(x["jpg"]) == b"two"
    assert x["jpg"] == Member(path, x["jpg"].offset, 3, "data-00.tar/sub.dir/x.JPG")
    assert (x["width"], x["ok"], x["txt"]) == (3, True, None)
    assert (content(n["jpg"]), n["cls"], n["width"]) == (b"33", "7", None)
    schema = Plan.open(tmp_path / "plan").schema
    assert {f.name: str(f.type) for f in schema} == {
        "width": "int64",
        "ok": "bool",
        "jpg": "string",
        "txt": "string",
        "cls": "string",
    }


def test_double_extensions_and_json_keys_as_columns(tmp_path):
    members = [("k.left.jpg", b"l"), ("k.right.jpg", b"r"), ("k.json", b'{"title": "chair"}')]
    write_tar(tmp_path / "a.tar", members)
    found = plan_and_read(tmp_path / "a.tar", tmp_path / "plan", "left.jpg", "right.jpg", "title")
    cells = found["a/k"]
    assert content(cells["left.jpg"]) == b"l"
    assert content(cells["right.jpg"]) == b"r"
    assert cells["title"] == "chair"


def special(kind, name="z.jpg", target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_what_is_no_data_is_left_out(tmp_path):
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
    members = [
        ("a.jpg", b"1"),
        *((special(kind, f"x{index}.jpg"), b"") for index, kind in enumerate(kinds)),
        ("__meta__", b"m"),
        ("._a.jpg", b"apple"),
        ("b.jpg", b"2"),
    ]
    write_tar(tmp_path / "a.tar", members)
    assert plan_and_read(tmp_path / "a.tar", tmp_path / "plan", "jpg").keys() == {"a/a", "a/b"}


@pytest.mark.parametrize("name", ["/etc/a.jpg", "../a.jpg", "x/../../a.jpg"])
def test_names_that_leave_the_tar_are_refused(tmp_path, name):
    write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), (name, b"2")])
    with pytest.raises(ConfigError, match="refused the member name"):
        plan_and_read(tmp_path / "a.tar", tmp_path / "plan", "jpg")


def test_a_key_that_comes_back_is_refused(tmp_path):
    write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.txt", b"3")])
    with pytest.raises(ConfigError, match=r"'a/a' occurs twice, at a.tar row 1 and at a.tar row 3"):
        plan_and_read(tmp_path / "a.tar", tmp_path / "plan", "jpg")
    write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("a.png", b"2")])
    with pytest.raises(ConfigError, match="both the 'image'"):
        plan_and_read(tmp_path / "a.tar", tmp_path / "plan", "image")


def test_damaged_tars(tmp_path):
    write_tar(tmp_path / "whole.tar", [(f"{n}.jpg", b"x" * 700) for n in range(20)])
    raw = (tmp_path / "whole.tar").read_bytes()
    broken = bytearray(raw)
    broken[1536 * 5 : 1536 * 5 + 200] = b"\x07" * 200
    for name, content, match in [
        ("cut.tar", raw[: 1536 * 5 + 600], "not a whole tar"),
        ("header.tar", bytes(broken), "a header is damaged"),
        ("text.tar", b"hello" * 300, "not a whole tar"),
        ("empty.tar", b"", "is empty"),
        ("none.tar", b"\0" * 10240, "the source is empty"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=match):
            plan_and_read(tmp_path / name, tmp_path / f"plan-{name}", "jpg")
    (tmp_path / "open.tar").write_bytes(raw[: 1536 * 20])  # no end marker: whole all the same
    assert len(plan_and_read(tmp_path / "open.tar", tmp_path / "plan", "jpg")) == 20


def test_json_that_can_not_be_read_has_no_keys(tmp_path):
    bad = [b"{", b"[1]", b'{"t": "\\ud800"}', b"[" * 100_000]
    members = [("ok.jpg", b"1"), ("ok.json", b'{"t": "x"}')]
    for index, text in enumerate(bad):
        members += [(f"{index}.jpg", b"1"), (f"{index}.json", text)]
    write_tar(tmp_path / "a.tar", members)
    found = plan_and_read(tmp_path / "a.tar", tmp_path / "plan", "jpg")
    assert [cells["t"] for cells in found.values()] == ["x", *[None] * len(bad)]


def test_sets_of_tars(tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(3):
        write_tar(tmp_path / "in" / f"d-{n:03}.tar", [(f"{n}.jpg", b"x")])
    expected = {f"d-{n:03}/{n}" for n in range(3)}
    for number, pattern in enumerate(["in", "in/*.tar", "in/d-{000..002}.tar"]):
        found = plan_and_read(tmp_path / pattern, tmp_path / f"plan-{number}", "jpg")
        assert found.keys() == expected
    with pytest.raises(ConfigError, match="no file for 'mp3'"):
        plan_and_read(tmp_path / "in", tmp_path / "plan", "mp3")


@pytest.mark.parametrize("name", ["coco_captions", "caltech101"])
def test_real_tars_equal_tarfile(data, tmp_path, name):
    path = data / "photos" / name / f"{name}.tar"
    with tarfile.open(path) as tar:
        infos = [info for info in tar if info.isreg()]
        groups = groupby(infos, key=lambda info: info.name.rsplit(".", 1)[0])
        expected = {
            f"{name}/{key}": {i.name.rsplit(".", 1)[1]: tar.extractfile(i).read() for i in group}
            for key, group in groups
        }
    found = plan_and_read(path, tmp_path / "plan", "image", records=100)
    assert found.keys() == expected.keys()
    for record_id, cells in found.items():
        assert content(cells["image"]) == expected[record_id]["jpg"]
        if "json" in expected[record_id]:
            document = json.loads(expected[record_id]["json"])
            assert cells["coco_id"] == document["coco_id"]
    plan = Plan.open(tmp_path / "plan")
    source = open_source(SourceSpec(str(path), columns=("image",)), tmp_path / "plan")
    for row in source.read(next(plan.shards())):
        values, problems = row_metadata(plan.schema, row)
        assert not problems
        assert values["image"] == f"{name}.tar/{row.record_id.removeprefix(name + '/')}.jpg"
