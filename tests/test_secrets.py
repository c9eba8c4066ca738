"""Secrets are planted wherever a run meets one; nothing that it leaves or prints may hold them."""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.redact import redacted, without_users

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "aws/planted+Secret1",
    "AWS_SESSION_TOKEN": "awsPlantedToken2",
    "HF_TOKEN": "hf_PlantedToken3",
    "GOOGLE_API_KEY": "googlePlanted4",
    "RAY_AUTH_TOKEN": "a" * 32 + "PlantedRay5",
}
CELLS = {
    "user": "https://me:cellPlanted6@media.example/a.jpg",
    "slash": "s3://AKIA:cell/Planted7@bucket/a.jpg",
    "signed": "https://media.example/b.jpg?X-Amz-Signature=signedPlanted8&x=1",
    "token": "gs://bucket/c.jpg?access_token=tokenPlanted9",
}
SECRETS = [*ENVIRONMENT.values(), "cellPlanted6", "Planted7", "signedPlanted8", "tokenPlanted9"]


def polyfuse(folder: Path, *words: str) -> str:
    environment = {**os.environ, **ENVIRONMENT, "RAY_TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    return done.stdout + done.stderr


def found(folder: Path) -> dict[str, str]:
    """{file: secret} for every file below that holds one, Parquet decompressed."""
    hits = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        raw = path.read_bytes()
        if path.suffix == ".parquet":
            raw += repr(pq.read_table(path).to_pylist()).encode()
        for secret in SECRETS:
            if secret.encode() in raw:
                hits[path.relative_to(folder).as_posix()] = secret
    return hits


@pytest.fixture(scope="module")
def run():
    """(the folder of a run over cells with secrets, all that its commands printed)."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="s-") as name:  # sockets need a short path
        folder = Path(name)
        with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "title", "photo"])
            writer.writerows([key, "a text", cell] for key, cell in CELLS.items())
        config = {
            "source": {"path": "a.csv", "id": "id"},
            "modalities": {"title": {"kind": "text"}, "photo": {"kind": "image"}},
            "output": "run",
            "max_error_rate": 1,
            "allow": {"schemes": ["file", "https"], "hosts": ["media.example"]},
            "workers": 1,
            "shard": {"records": 2},  # too many for the command alone: Ray is to see it all
        }
        (folder / "run.yaml").write_text(yaml.safe_dump(config))
        (folder / "ray").mkdir()
        said = polyfuse(folder / "ray", "run", str(folder / "run.yaml"))
        place = str(folder / "run")
        said += polyfuse(folder / "ray", "status", place)
        said += polyfuse(folder / "ray", "search", place, "--text", "a text", "--json")
        yield folder, said


@pytest.mark.ray
def test_nothing_printed_holds_a_secret(run):
    _, said = run
    assert "4 records" in said, said
    # A search shows the columns of the source, which are the user's own.
    said = "\n".join(line for line in said.splitlines() if '"photo"' not in line)
    assert [secret for secret in SECRETS if secret in said] == []


@pytest.mark.ray
def test_nothing_left_behind_holds_a_secret(run):
    folder, _ = run
    hits = found(folder / "run")
    # records/ and the rows of an index keep the columns of the source as they are: docs/security.md.
    assert {
        name for name in hits if not name.startswith("records/") and "rows.parquet" not in name
    } == set()
    assert pq.read_table(folder / "run" / "errors").num_rows >= 4
    environment = set(ENVIRONMENT.values())
    assert not environment & set(hits.values())


@pytest.mark.ray
def test_rays_own_logs_hold_no_secret(run):
    folder, _ = run
    logs = [path for path in (folder / "ray").rglob("*") if path.is_file()]
    assert logs, "Ray leaves logs there"
    assert {path.name: s for path in logs for s in SECRETS if s.encode() in path.read_bytes()} == {}


URIS = {
    "https://me:secret@host/a.jpg": "https://host/a.jpg",
    "https://token@host/a.jpg": "https://host/a.jpg",
    "s3://AKIA:sec/ret+x@bucket/a": "s3://bucket/a",
    "https://host:8080/a@b.jpg": "https://host:8080/a@b.jpg",
    "s3://bucket/user@example/a.jpg": "s3://bucket/user@example/a.jpg",
    "https://host/a?sig=secret": "https://host/a?...",
    "can't read https://host/a?sig=secret: 403": "can't read https://host/a?... 403",
    "https://a:secret@h/x and s3://b:secret@c/y": "https://h/x and s3://c/y",
    "photos/what?.jpg": "photos/what?.jpg",
    "no address at all": "no address at all",
}


@pytest.mark.parametrize("text", URIS)
def test_what_is_shown_of_an_address(text):
    assert redacted(text) == URIS[text]


def test_a_saved_configuration_keeps_no_password():
    saved = {"output": "s3://AKIA:sec/ret@bucket/run", "list": ["https://me:pw@host/a?x=1", 7]}
    assert without_users(saved) == {"output": "s3://bucket/run", "list": ["https://host/a?x=1", 7]}


def test_a_refused_address_is_shown_without_its_password(tmp_path):
    config = {
        "source": {"path": "a.csv"},
        "modalities": {"title": {"kind": "text"}},
        "output": "run",
    }
    (tmp_path / "a.csv").write_text("title\nx\n")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    said = polyfuse(
        tmp_path,
        "run",
        str(tmp_path / "run.yaml"),
        "--set",
        "source.path=https://me:Planted7@host/x",
    )
    assert said.startswith("polyfuse: ")
    assert "Planted7" not in said
    assert "Traceback" not in said
