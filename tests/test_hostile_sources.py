"""Tables, tars and configurations from strangers: nothing in them runs, escapes or grows without end."""

import csv
import io
import json
import pickle
import resource
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from canaries import Touch

from chaos.in_process import without_ray
from pipeline import config as configuration
from pipeline.errors import ConfigError, PolyfuseError
from pipeline.run import Options, retry, run
from pipeline.saved import load_saved
from pipeline.sources import SourceSpec, open_source, parquet
from pipeline.sources.base import Limit
from pipeline.verify import verify


def finished(folder, name, column="text", kind="text", **settings):
    """A run over one source, without Ray; its audit finds nothing."""
    data = {
        "source": {"path": name},
        "modalities": {"text": {"kind": kind, "column": column}},
        "output": "run",
        "max_error_rate": 1,
        **settings,
    }
    with without_ray():
        run(configuration.parse(data, folder), Options(("extract", "fuse")))
    audit = verify(folder / "run")
    assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)
    return audit


EXTENSIONS = ["ray.data.arrow_tensor", "ray.data.arrow_tensor_v2", "ray.data.arrow_variable_shaped_tensor",
              "ray.data.arrow_pickled_object", "arrow.py_extension_type", "arrow.opaque",
              "arrow.fixed_shape_tensor", "pandas.period", "nobody.knows"]  # fmt: skip


@pytest.mark.parametrize("name", EXTENSIONS)
def test_pickles_in_the_metadata_of_parquet_are_not_opened(tmp_path, canary, name):
    """Extension types rebuild themselves from bytes of the file; Ray registers several."""
    import ray.data  # noqa: F401  # as in a worker

    attack = pickle.dumps(Touch(canary), protocol=0)
    rows = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    field = pa.field("v", rows.type, metadata={
        b"ARROW:extension:name": name.encode(), b"ARROW:extension:metadata": attack,
    })  # fmt: skip
    schema = pa.schema([pa.field("text", pa.string()), field],
                       metadata={b"pandas": attack, b"huggingface": attack, b"pickle": attack})  # fmt: skip
    pq.write_table(pa.table([pa.array(["a", "b"]), rows], schema=schema), tmp_path / "a.parquet")
    try:
        finished(tmp_path, "a.parquet")
    except PolyfuseError as err:
        assert "Traceback" not in str(err)  # noqa: PT017


def test_pickles_in_cells_are_bytes(tmp_path, canary):
    attack = pickle.dumps(Touch(canary))
    table = pa.table({"text": [attack, b"plain"], "other": [attack, attack]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert finished(tmp_path, "a.parquet").outcomes == {"failed": 1, "ok": 1}


@pytest.mark.parametrize("suffix", ["pkl", "pickle", "pyd", "pth", "pt", "npy", "npz", "ten", "tb"])
def test_pickles_in_tars_are_not_opened(tmp_path, canary, suffix):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, raw in ((f"k.{suffix}", pickle.dumps(Touch(canary))), ("k.txt", b"a text")):
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    assert finished(tmp_path, "a.tar", "txt").outcomes == {"ok": 1}


NAMES = ["../k.txt", "/etc/k.txt", "a/../../k.txt", "./../k.txt", "..\\k.txt", "a/..", "~/k.txt", "k\0.txt",
         "CON.txt", "k.txt/", "//k.txt", "a/./../../b.txt"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                  tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE])  # fmt: skip
def test_nothing_in_a_tar_leads_out_of_it(tmp_path, name, kind):
    place = tmp_path / "in"
    place.mkdir()
    (tmp_path / "k.txt").write_text("the secret")
    with tarfile.open(place / "a.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, str(tmp_path / "k.txt")
        tar.addfile(info)
        own = tarfile.TarInfo("own.txt")
        own.size = 3
        tar.addfile(own, io.BytesIO(b"own"))
    try:
        finished(place, "a.tar", "txt")
    except ConfigError as err:
        assert "leaves the tar" in str(err) or "not a whole tar" in str(err)  # noqa: PT017
    else:
        texts = [path.read_bytes() for path in (place / "run").rglob("*.parquet")]
        assert not any(b"the secret" in raw for raw in texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "k.txt"]


@pytest.mark.parametrize("size", [2**33 - 1, 8 * 2**30 - 512, 10**6])
def test_a_tar_that_claims_gigabytes_is_refused(tmp_path, size):
    info = tarfile.TarInfo("k.txt")
    info.size = size
    (tmp_path / "a.tar").write_bytes(info.tobuf() + bytes(1024))
    with pytest.raises(ConfigError, match="not a whole tar"):
        finished(tmp_path, "a.tar", "txt")


def test_a_footer_that_claims_too_much_is_a_sentence(tmp_path):
    """Long strings and long lists in a footer are refused before they are allocated."""
    table = pa.table({"text": ["a"]}).replace_schema_metadata({"x": "y" * (20 << 20)})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"can't read .*a\.parquet"):
        open_source(SourceSpec(str(tmp_path / "a.parquet")))


def test_a_page_that_unpacks_to_gigabytes_is_read_in_small_pieces(tmp_path):
    """Millions of nulls are a few bytes of Parquet; a shard is never more of them than it may be."""
    table = pa.table({"text": pa.nulls(3_000_000, pa.string())})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    source = open_source(SourceSpec(str(tmp_path / "a.parquet"), columns=("text",)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = iter([Limit(4096, 10**6)] * 10_000)
    pieces = list(
        source.scan(
            source.files(), __import__("pipeline.sources.base", fromlist=["Known"]).Known(), limits
        )
    )
    assert max(piece.rows for piece in pieces) <= 4096
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kB


TEXTS = ["=cmd|' /C calc'!A0", "${jndi:ldap://x/a}", "{{7*7}}", "'; DROP TABLE x; --", "%n%s",
         "<script>alert(1)</script>", "\u202egnp.exe", "$(touch x)"]  # fmt: skip


@pytest.mark.parametrize("cell", TEXTS)
def test_texts_are_only_texts(tmp_path, cell):
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerow([cell, cell])
    finished(tmp_path, "a.csv", source={"path": "a.csv", "id": "id"})
    table = pq.read_table(tmp_path / "run" / "records")
    assert table["record_id"].to_pylist() == [cell] == table["text"].to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "run"]


OUTSIDE = [
    "../x",
    "a/b",
    "/x",
    "..",
    ".",
    "",
    "a\0b",
    "~",
    "a b",
    "x" * 300,
    "C:\\x",
    "%2e%2e",
    "-\n",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("place", ["modalities", "models"])
def test_names_that_become_folders_stay_in_theirs(tmp_path, place, name):
    data = {
        "source": {"path": "a.csv"},
        "modalities": {"text": {"kind": "text"}},
        "models": {"concat": {"name": "concat"}},
        "output": "run",
    }
    data[place] = {name: next(iter(data[place].values()))}
    with pytest.raises(ConfigError, match="expected a name of letters"):
        configuration.parse(data, tmp_path)


@pytest.mark.parametrize("place", ["modalities", "models"])
def test_a_run_from_a_stranger_is_held_to_the_same_names(tmp_path, place):
    (tmp_path / "a.csv").write_text("text\nred shoe\n")
    finished(tmp_path, "a.csv")
    path = tmp_path / "run" / "config.yaml"
    data = yaml.safe_load(path.read_text())
    own = data["config"][place]
    own["../../x"] = own.pop(next(iter(own)))
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(PolyfuseError, match="expected a name of letters"):
        load_saved(tmp_path / "run")


@pytest.mark.parametrize(
    ("place", "change", "told"),
    [
        ("modalities.text", {"encoder": {"name": "hashed-ngrams", "dim": "many"}}, "valid integer"),
        ("models.learned", {"name": "gmu", "training": {"xx": 1}}, "training.xx: unknown key"),
        ("models.learned", {"name": "gmu", "width": 2}, "width: unknown key"),
    ],
)
def test_a_retry_of_a_damaged_run_says_where_it_is_damaged(tmp_path, place, change, told):
    (tmp_path / "a.csv").write_text("text\nred shoe\n")
    finished(tmp_path, "a.csv")
    path = tmp_path / "run" / "config.yaml"
    data = yaml.safe_load(path.read_text())
    part, name = place.split(".")
    data["config"][part][name] = data["config"][part].get(name, {}) | change
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(PolyfuseError, match=rf"config.yaml is damaged \({place}.*{told}"):
        retry(tmp_path / "run", Options(retry=True))


BOMBS = {
    "laughs": "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
    "circle": "source: &a {path: *a}\n",
    "deep flow": "[" * 200_000,
    "deep block": "- " * 100_000,
    "code": "!!python/object/apply:os.system ['touch canary']\n",
    "new object": "!!python/object/new:os.system ['touch canary']\n",
    "module": "source: !!python/module:os\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "tag": "source: !include /etc/passwd\n",
    "number": "source: {path: a.csv}\nworkers: " + "9" * 10_000 + "\n",
    "date": "source: 2001-99-99\n",
    "key": "? [a, b]\n: 1\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_that_is_more_than_a_configuration_is_a_sentence(tmp_path, canary, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(BOMBS[name])
    with pytest.raises(ConfigError):
        configuration.load(tmp_path / "a.yaml")
    with pytest.raises(ConfigError):
        configuration.load(tmp_path / "a.yaml", ["output=" + BOMBS[name]])
    place = tmp_path / "run"
    place.mkdir()
    (place / "config.yaml").write_text(BOMBS[name])
    with pytest.raises(PolyfuseError, match=r"config\.yaml is damaged"):
        load_saved(place)


def test_json_lines_that_are_deep_or_odd_cost_a_row_each(tmp_path):
    lines = ["[" * 100_000, '{"a":' * 50_000, '{"text": "good"}', '{"text": 1e400}', '{"text": NaN}',
             '{"text": "\\ud800"}', "{}", '"x"', '{"text": {"a": 1}}', '{"' + "k" * 10_000 + '": 1}',
             json.dumps({"__proto__": {"x": 1}, "text": "ok"})]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    assert sum(finished(tmp_path, "a.jsonl").outcomes.values()) == len(lines)


def test_a_footer_that_ends_its_reader_costs_another_process(tmp_path, monkeypatch):
    """pyarrow calls abort() on histograms of a wrong length (found by chaos.files)."""
    for name in ("a", "b", "c"):
        pq.write_table(pa.table({"text": ["red shoe"]}), tmp_path / f"{name}.parquet")
    parquet._survive([str(tmp_path / f"{name}.parquet") for name in "abc"])
    dies = parquet._READ_FOOTERS.replace(
        "footer = pq", "import os; 'b.parquet' in path and os.abort(); footer = pq"
    )
    monkeypatch.setattr(parquet, "_READ_FOOTERS", dies)
    with pytest.raises(ConfigError, match=r"b\.parquet: its footer ends pyarrow with SIGABRT"):
        finished(tmp_path, "*.parquet")
