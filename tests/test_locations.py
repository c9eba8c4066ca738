"""Which bytes a cell may fetch, and with what reason it may not."""

import os
import socket

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry, known_implementations

from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from pipeline.config import AllowConfig
from pipeline.sources import Member
from pipeline.sources.locations import fetch

LIMITS = Limits(bytes=100)
LOCAL = AllowConfig()


def refused(cell, root, allow=LOCAL):
    with pytest.raises(MediaError) as caught:
        fetch(cell, root, LIMITS, allow)
    assert str(root) not in caught.value.message or str(root) in str(cell)
    return caught.value.reason


@pytest.fixture
def root(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a b#?%41.jpg").write_bytes(b"photo")
    (tmp_path / "big.jpg").write_bytes(b"x" * 101)
    (tmp_path / "full.jpg").write_bytes(b"x" * 100)
    (tmp_path / "empty.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "full.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    return tmp_path


def test_local(root):
    assert fetch("a b#?%41.jpg", root, LIMITS, LOCAL) == b"photo"
    assert fetch(str(root / "full.jpg"), root / "sub", LIMITS, LOCAL) == b"x" * 100
    assert fetch("../link.jpg", root / "sub", LIMITS, LOCAL) == b"x" * 100
    assert fetch("empty.jpg", root, LIMITS, LOCAL) == b""
    assert fetch(b"bytes", root, LIMITS, LOCAL) == b"bytes"
    assert fetch(f"file://{root}/full.jpg", root, LIMITS, LOCAL) == b"x" * 100
    assert fetch(f"file://localhost{root}/a%20b%23%3F%2541.jpg", root, LIMITS, LOCAL) == b"photo"


def test_members(root):
    (root / "a.tar").write_bytes(b"0123456789")
    path = str(root / "a.tar")
    assert fetch(Member(path, 3, 4, "a.tar/k.jpg"), root, LIMITS, LOCAL) == b"3456"
    for member, reason in [
        (Member(path, 8, 4, "a.tar/k.jpg"), Reason.FETCH_ERROR),
        (Member(path, 0, 101, "a.tar/k.jpg"), Reason.TOO_LARGE),
        (Member(path + "x", 0, 1, "a.tar/k.jpg"), Reason.NOT_FOUND),
    ]:
        assert refused(member, root) == reason


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("nothing.jpg", Reason.NOT_FOUND),
        ("full.jpg/x", Reason.NOT_FOUND),
        ("a\0b", Reason.NOT_FOUND),
        ("\ud800.jpg", Reason.NOT_FOUND),
        ("n" * 5000, Reason.FETCH_ERROR),
        ("loop.jpg", Reason.FETCH_ERROR),
        ("sub", Reason.REFUSED),
        ("pipe.jpg", Reason.REFUSED),
        ("/dev/zero", Reason.REFUSED),
        ("", Reason.REFUSED),
        ("big.jpg", Reason.TOO_LARGE),
        (b"x" * 101, Reason.TOO_LARGE),
        ("file://other/full.jpg", Reason.REFUSED),
        ("s3://bucket/a.jpg", Reason.REFUSED),
        ("https://host/a.jpg", Reason.REFUSED),
    ],
)
def test_local_refusals(root, cell, reason):
    assert refused(cell, root) == reason


def test_a_socket_is_refused(root, monkeypatch):
    monkeypatch.chdir(root)  # socket paths must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.jpg")
        assert refused("s.jpg", root) == Reason.REFUSED


def test_file_can_be_switched_off(root):
    allow = AllowConfig(schemes=("s3",), hosts=("bucket",))
    assert refused("full.jpg", root, allow) == Reason.REFUSED
    assert refused(f"file://{root}/full.jpg", root, allow) == Reason.REFUSED
    assert fetch(b"bytes", root, LIMITS, allow) == b"bytes"


ALLOW = AllowConfig(schemes=("file", "s3"), hosts=("bucket",))


class Bucket(MemoryFileSystem):
    """fsspec's own file system in memory, under the s3 scheme."""

    protocol = "s3"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("s3://").strip("/")


def test_bucket(tmp_path, monkeypatch):
    monkeypatch.setitem(_registry, "s3", Bucket)
    Bucket().pipe({"s3://bucket/a.jpg": b"photo", "s3://bucket/big.jpg": b"x" * 101})
    assert fetch("s3://bucket/a.jpg", tmp_path, LIMITS, ALLOW) == b"photo"
    assert refused("s3://bucket/big.jpg", tmp_path, ALLOW) == Reason.TOO_LARGE
    assert refused("s3://bucket/none.jpg", tmp_path, ALLOW) == Reason.NOT_FOUND


def test_a_missing_backend_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(known_implementations, "gs", {"class": "no_such_module.X", "err": "no"})
    monkeypatch.delitem(_registry, "gs", raising=False)
    allow = AllowConfig(schemes=("gs",), hosts=("bucket",))
    with pytest.raises(MediaError, match=r"pip install 'polyfuse\[gcs\]'") as caught:
        fetch("gs://bucket/a.jpg", tmp_path, LIMITS, allow)
    assert caught.value.reason == Reason.FETCH_ERROR
