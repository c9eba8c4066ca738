"""What is mutated: the files of a finished run, of sources and of a configuration, with who reads them."""

import contextlib
import csv
import io
import json
import shutil
import tarfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from chaos import sound
from chaos.in_process import without_ray
from pipeline import Run, disk, files
from pipeline import config as configuration
from pipeline.run import Options, run
from pipeline.status import read_status
from pipeline.status import to_json as status_json
from pipeline.verify import verify

ROWS = [
    {"id": f"r{i:02d}", "title": f"red thing number {i}", "v": [i, 1.0, -i], "price": i / 2}
    for i in range(16)
]
MODALITIES = {
    "title": {"kind": "text", "encoder": {"name": "hashed-ngrams", "dim": 16}},
    "v": {"kind": "vector"},
}
# Written for a person, or his to change: no digest.
OF_USERS = ("source.", "polyfuse.yaml")  # kinds of files that we did not write
OPEN = ("config.yaml", "report.html", "lease")


@dataclass(frozen=True)
class Case:
    """One file and one command that reads it. sealed: its bytes have a digest somewhere.

    act: does it; "same" as with the intact file, "noticed" by the audit, or "other".
    restore: makes good what the mutation, and the command, did.
    """

    command: str
    kind: str
    path: Path
    intact: bytes
    sealed: bool
    act: Callable[[], str]
    restore: Callable[[], None]


@contextlib.contextmanager
def quiet(folder: Path) -> Iterator[None]:
    """Commands without Ray and without waiting for the disk; notes of the search in this folder."""
    with without_ray(), warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(disk, "sync", lambda path: None)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield


def make(folder: Path) -> list[Case]:
    """Every file with every command, in an order that mixes them."""
    cases = [*_of_run(folder / "finished"), *_of_sources(folder), *_of_configuration(folder)]
    return sorted(cases, key=lambda case: hash_of(f"{case.path} {case.command}"))


def hash_of(text: str) -> str:
    """An order that has nothing to do with names."""
    return files.short_digest(text)


# -- a finished run


def _of_run(folder: Path) -> Iterator[Case]:
    folder.mkdir()
    source = _tar(folder)
    config = configuration.parse(_settings(source, "run", id=None), folder)
    run(config, Options())
    place = folder / "run"
    tree = {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
    parts, answers = sound.published(place), {name: act(place) for name, act in READERS.items()}

    def again(own: str) -> Callable[[], str]:
        """The mutated file itself may stay as it is: `run` does not read again what is done."""

        def act() -> str:
            run(config, Options())
            now = sound.published(place)
            same = {name: raw for name, raw in now.items() if name != own}
            return "same" if same == {n: r for n, r in parts.items() if n != own} else "other"

        return act

    def rebuild() -> None:
        shutil.rmtree(place)
        for path, raw in tree.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)

    def asking(name: str) -> Callable[[], str]:
        return lambda: "same" if READERS[name](place) == answers[name] else "other"

    def audit() -> str:
        return "noticed" if verify(place).problems else "unnoticed"

    for path, raw in tree.items():
        relative = path.relative_to(place)
        kind = relative.parts[0] if len(relative.parts) > 1 else relative.name
        kind = f"{kind}/*{path.suffix}" if len(relative.parts) > 1 else kind
        sealed = relative.parts[0] not in OPEN
        put_back = _writer(path, raw)
        for name in READERS:
            yield Case(name, kind, path, raw, sealed, asking(name), put_back)
        yield Case("verify", kind, path, raw, sealed, audit, put_back)
        yield Case("run", kind, path, raw, sealed, again(relative.as_posix()), rebuild)


def _status(place: Path) -> Any:
    found = status_json(read_status(place))
    for stage in found["stages"]:
        del stage["rate"]  # of the last minute
    return json.dumps(found, sort_keys=True, default=lambda value: "")


def _search(place: Path) -> Any:
    hits = Run(place).search({"title": "red thing number 7"}, where="price < 100", k=5)
    return [(hit.record_id, hit.score, hit.metadata) for hit in hits]


def _export(place: Path) -> Any:
    out = place.parent / "wide.parquet"
    Run(place).export(out)
    return pq.read_table(out)


READERS: dict[str, Callable[[Path], Any]] = {
    "status": _status,
    "search": _search,
    "export": _export,
}


def _writer(path: Path, raw: bytes) -> Callable[[], None]:
    return lambda: path.write_bytes(raw) and None


# -- sources


def _of_sources(folder: Path) -> Iterator[Case]:
    writers = {"csv": _csv, "tsv": _csv, "jsonl": _jsonl, "parquet": _parquet, "tar": _tar}
    for suffix, write in writers.items():
        place = folder / suffix
        place.mkdir()
        path = write(place, suffix)
        settings = _settings(path, "run", id=None if suffix == "tar" else "id")
        raw = path.read_bytes()
        yield Case("run", f"source.{suffix}", path, raw, False, _runs(settings, place),
                   _cleaner(path, raw))  # fmt: skip


def _runs(settings: dict[str, Any], place: Path) -> Callable[[], str]:
    def act() -> str:
        run(configuration.parse(settings, place), Options())
        audit = verify(place / "run")
        wrong = audit.problems or audit.garbage or audit.pending
        assert not wrong, f"the audit finds {wrong}"
        return "ran"

    return act


def _cleaner(path: Path, raw: bytes) -> Callable[[], None]:
    def restore() -> None:
        path.write_bytes(raw)
        shutil.rmtree(path.parent / "run", ignore_errors=True)

    return restore


def _csv(folder: Path, suffix: str) -> Path:
    path = folder / f"a.{suffix}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if suffix == "tsv" else ",")
        writer.writerow(ROWS[0])
        writer.writerows(
            [*list(row.values())[:2], json.dumps(row["v"]), row["price"]] for row in ROWS
        )
    return path


def _jsonl(folder: Path, suffix: str) -> Path:
    path = folder / f"a.{suffix}"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def _parquet(folder: Path, suffix: str) -> Path:
    path = folder / f"a.{suffix}"
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=5)
    return path


def _tar(folder: Path, suffix: str = "tar") -> Path:
    path = folder / f"a.{suffix}"
    with tarfile.open(path, "w") as tar:
        for row in ROWS:
            members = {
                "title": row["title"],
                "json": json.dumps({"v": row["v"], "price": row["price"]}),
            }
            for extension, text in members.items():
                info = tarfile.TarInfo(f"{row['id']}.{extension.replace('title', 'txt')}")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
    return path


def _settings(source: Path, output: str, id: str | None) -> dict[str, Any]:
    tar = source.suffix == ".tar"
    title = {**MODALITIES["title"], **({"column": "txt"} if tar else {})}
    vector = {} if tar else {"v": MODALITIES["v"]}
    return {
        "source": {"path": source.name, **({"id": id} if id else {})},
        "modalities": {"title": title, **vector},
        "output": output,
        "shard": {"records": 8},
        "max_error_rate": 1,
    }


# -- the configuration


def _of_configuration(folder: Path) -> Iterator[Case]:
    place = folder / "configured"
    place.mkdir()
    settings = _settings(_csv(place, "csv"), "run", id="id")
    settings |= {
        "models": {"concat": {"name": "concat", "weights": {"title": 2.0, "v": 1.0}}},
        "split": {"test": 0.2, "valid": 0.1, "seed": 0},
        "index": {"metric": "cosine", "memory": "1GB"},
        "limits": {"bytes": "8MB", "pixels": "4M"},
        "allow": {"schemes": ["file"], "hosts": []},
        "workers": 1,
    }
    path = place / "polyfuse.yaml"
    raw = yaml.safe_dump(settings, sort_keys=False).encode()
    path.write_bytes(raw)

    def act() -> str:
        config = configuration.load(path, ["output=run", "source.path=a.csv"])
        run(config, Options())
        return "ran"

    yield Case("run", "polyfuse.yaml", path, raw, False, act, _cleaner(path, raw))
