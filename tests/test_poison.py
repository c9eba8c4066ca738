"""Media that kill, hang or exhaust the decoder for real: each costs itself, and its neighbours nothing."""

import os
from pathlib import Path

import pandas as pd
import pytest
import ray
import yaml
from corpus import part_bytes, write_corpus

from chaos.notices import Notices
from pipeline import cluster
from pipeline import config as configuration
from pipeline.run import Options, Summary, run
from pipeline.verify import verify
from pipeline.work import Worker

pytestmark = pytest.mark.ray

# Python loads a module of this name first thing in every process of the cluster, decoders included:
# there a picture that ends in one of these words does to its process what a decoder's bug does.
SITECUSTOMIZE = """
import ctypes, os, signal
from PIL import Image

def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def hang():
    ctypes.PyDLL(None).sleep(600)  # with the interpreter's lock held: no other thread runs

def exhaust():
    taken = bytearray(6 << 30)  # refused under the cap of an isolated decoder
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is gone

def opened(file, *args, original=Image.open, **kwargs):
    damage = {b"CRASH": crash, b"HANG!": hang, b"HEAVY": exhaust}.get(file.getvalue()[-5:])
    return damage() if damage else original(file, *args, **kwargs)

Image.open = opened
"""
POISON = {"r001": b"CRASH", "r020": b"HANG!", "r038": b"HEAVY", "r044": b"CRASH"}
EXPECTED = {
    "r001": ("CRASH", "the decoder process died on this medium", 2),
    "r020": ("TIMEOUT", "decoding took longer than 3 s", 2),
    "r038": ("OOM", "image: not enough memory to decode it", 1),
    "r044": ("CRASH", "the decoder process died on this medium", 2),
}


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """A folder for PYTHONPATH that makes decoders die of poison."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return folder


@pytest.fixture(scope="module", autouse=True)
def fragile_cluster(fragile):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(fragile), prepend=os.pathsep)
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def finished(folder: Path, *, poisonous: bool) -> Path:
    """A run over 48 records in which four photos are poison, or simply no photos."""
    return summary(folder, 48, POISON, poisonous=poisonous).run


def summary(folder: Path, records: int, poison: dict[str, bytes], *, poisonous: bool) -> Summary:
    path = write_corpus(folder, records)
    for record_id, word in poison.items():
        photo = folder / f"photo-{int(record_id[1:])}.png"
        photo.write_bytes(photo.read_bytes() + word if poisonous else b"no photo")
    settings = yaml.safe_load(path.read_text())
    settings |= {"limits": {"item_timeout": 3}, "workers": 2}
    del settings["modalities"]["sound"]
    return run(configuration.parse(settings, folder), Options(("extract", "fuse")))


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory) -> tuple[Path, list[str]]:
    """A run that met poison, and the names that came up in its ledger meanwhile."""
    folder = tmp_path_factory.mktemp("poison")
    ledger = folder / "run" / "ledger" / "00000"
    ledger.mkdir(parents=True)
    notices = Notices([ledger])
    run = finished(folder, poisonous=True)
    names = notices.read()
    notices.close()
    return run, names


@pytest.fixture(scope="module")
def runs(poisoned, tmp_path_factory):
    """(a run that met poison, an undisturbed one)."""
    return poisoned[0], finished(tmp_path_factory.mktemp("calm"), poisonous=False)


def test_poison_costs_its_shard_one_attempt(poisoned):
    begun = {name for name in poisoned[1] if ".attempt-" in name}
    photos = {(name[:7], name[-3:]) for name in begun if "extract.photo" in name}
    shards = {shard for shard, _ in photos}
    assert len(shards) == 3
    assert photos == {(shard, number) for shard in shards for number in ("001", "002")}
    assert {name[-3:] for name in begun if "extract.title" in name} == {"001"}


def errors(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "errors").set_index("record_id").sort_index()


def test_each_poison_is_one_error_that_says_what_it_did(runs):
    found = errors(runs[0])
    for record_id, (reason, message, attempts) in EXPECTED.items():
        row = found.loc[record_id]
        assert (row["reason"], row["message"], row["attempts"]) == (reason, message, attempts)
        assert (row["feature"], row["stage"]) == ("photo", "decode")


def test_every_other_error_is_as_in_an_undisturbed_run(runs):
    poisoned, calm = (errors(run).drop(index=list(POISON)) for run in runs)
    assert len(calm) == 8
    pd.testing.assert_frame_equal(poisoned, calm)


def test_no_other_part_differs_in_a_bit(runs):
    poisoned, calm = (part_bytes(run) for run in runs)
    names = {name for name in calm if not name.startswith("errors/")}
    assert names == {name for name in poisoned if not name.startswith("errors/")}
    assert all(poisoned[name] == calm[name] for name in names)


def test_the_audit_finds_nothing_and_no_try_is_left_over(runs):
    for folder in runs:
        audit = verify(folder)
        assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)
        assert not list(folder.rglob("*attempt*"))


def test_a_helper_that_it_kills_costs_no_more(runs, tmp_path, monkeypatch):
    def stream(job, units, *_, **__):  # a pool of one worker, which has one helper
        worker = ray.remote(num_cpus=1)(Worker).remote(job, {"photo": 1})
        yield from (ray.get(worker.run.remote(unit)) for unit in units)

    monkeypatch.setattr(cluster, "stream", stream)
    assert part_bytes(finished(tmp_path, poisonous=True)) == part_bytes(runs[0])


def test_a_command_that_does_it_all_itself_lives(fragile, tmp_path, monkeypatch):
    # This process has started without it; its decoders start with it.
    monkeypatch.syspath_prepend(str(fragile))
    poison = {"r001": b"CRASH", "r002": b"HEAVY"}
    ill = summary(tmp_path / "poison", 12, poison, poisonous=True)
    calm = summary(tmp_path / "calm", 12, poison, poisonous=False)
    assert "ray" not in {*ill.seconds, *calm.seconds}
    found = errors(ill.run)
    assert tuple(found.loc["r001", ["reason", "message", "attempts"]]) == EXPECTED["r001"]
    assert tuple(found.loc["r002", ["reason", "message", "attempts"]]) == EXPECTED["r038"]
    others = (errors(summary.run).drop(index=list(poison)) for summary in (ill, calm))
    pd.testing.assert_frame_equal(*others)
    parts = [
        {name: part for name, part in part_bytes(summary.run).items() if "errors/" not in name}
        for summary in (ill, calm)
    ]
    assert parts[0] == parts[1]
