"""Part files named by number and content, and immutable snapshots that say which parts are the run.

A part is written once and never changed: equal content gives the same name and the same bytes,
whoever writes it and how often.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from pipeline import bucket, files, intact
from pipeline.errors import PolyfuseError

_BLOCK = 10_000  # parts

# Small enough that a search can read one record's vector back, large enough to scan quickly.
ROW_GROUP = 1024
_REWRITTEN = "`polyfuse run CONFIG` writes it again"
_DAMAGED = f"remove it, and {_REWRITTEN}"


Count = Annotated[int, Field(ge=0, lt=2**63)]  # as the manifest's columns hold it


@dataclass(frozen=True, slots=True)
class PartFile:
    """What a ledger marker says about a file: relative folder, name, rows, digest, size."""

    folder: str
    name: str
    rows: Count
    sha256: str
    bytes: Count


@dataclass(frozen=True, slots=True)
class Part:
    """One part file of a snapshot."""

    path: Path
    number: int
    rows: int
    sha256: str
    bytes: int


def write_part(run: Path, folder: str, number: int, table: pa.Table) -> PartFile:
    """Write RUN/folder/part-<number>-<digest>.parquet and return what a marker needs.

    Dictionary encoding, statistics of vectors and compression of floats are off: they cost time
    and save nothing on embeddings.
    """
    metadata = {**(table.schema.metadata or {}), b"format": str(files.FORMAT).encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        row_group_size=ROW_GROUP,
        use_dictionary=False,
        compression={leaf: _codec(leaf) for leaf in _leaves(table.schema)},
        write_statistics=[name for name in table.column_names if name != "vector"],
        write_page_checksum=True,
        store_schema=True,
    )
    data = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(data).hexdigest()
    name = f"part-{number:07d}-{digest[:16]}.parquet"
    path = run / folder / name
    if bucket.holds(path) or not files.has_digest(path, digest):
        files.publish(path, data)
    return PartFile(folder, name, table.num_rows, digest, len(data))


@lru_cache
def _leaves(schema: pa.Schema) -> list[str]:
    parquet = pq.ParquetFile(io.BytesIO(_empty(schema))).schema
    return [parquet.column(i).path for i in range(len(parquet))]


def _empty(schema: pa.Schema) -> bytes:
    sink = io.BytesIO()
    pq.write_table(schema.empty_table(), sink)
    return sink.getvalue()


def _codec(leaf: str) -> str:
    return "NONE" if leaf.split(".")[0] in ("vector", "weights", "log_variance") else "ZSTD"


@dataclass(frozen=True)
class _Pointer:
    """snapshot.json. totals: rows per unit of work."""

    version: int
    digest: str
    totals: Mapping[str, int]


@dataclass(frozen=True)
class Snapshot:
    """An immutable list of the parts that make up the run at one moment."""

    run: Path
    version: int
    digest: str

    @classmethod
    def latest(cls, run: Path) -> "Snapshot":
        """The newest snapshot of a run.

        Raises:
            PolyfuseError: there is none, because nothing has finished in this folder yet; or its
                pointer is damaged.
        """
        pointer = run / "snapshot.json"
        if not pointer.exists():
            hint = "run `polyfuse run CONFIG` first" if run.exists() else "check the path"
            raise PolyfuseError(f"{run} holds no finished run (no snapshot.json in it): {hint}")
        found = files.read_as(_Pointer, pointer, _DAMAGED)
        return cls(run, found.version, found.digest)

    @property
    def manifest(self) -> Path:
        """The Parquet table of the parts."""
        return self.run / "snapshots" / f"v{self.version:07d}" / "manifest.parquet"

    def parts(self, folder: str) -> list[Part]:
        """The parts of "records", "features/image", "fused/concat" ..., by part number.

        There is one part per shard and folder; row i of part n is the same record in each folder.
        """
        table = self._read().filter(pc.field("folder") == folder).sort_by("number")
        columns = [
            table[name].to_pylist() for name in ("name", "number", "rows", "sha256", "bytes")
        ]
        home = self.run / folder
        return [Part(home / name, *rest) for name, *rest in zip(*columns, strict=True)]

    def folders(self) -> list[str]:
        """Every folder that has parts."""
        return sorted(self._read()["folder"].unique().to_pylist())

    def is_whole(self) -> bool:
        """Whether the manifest has the bytes that were written."""
        return files.has_digest(self.manifest, self.digest)

    def _read(self) -> pa.Table:
        raw = files.read_all([self.manifest])[0] or b""
        if hashlib.sha256(raw).hexdigest() != self.digest:
            raise files.damaged(
                self.manifest, "its bytes are not those that were written", _REWRITTEN
            )
        with intact.sound(self.manifest, _REWRITTEN):
            return pq.read_table(pa.BufferReader(raw))


_MANIFEST = pa.schema(
    [
        ("folder", pa.string()),
        ("number", pa.int64()),
        ("name", pa.string()),
        ("rows", pa.int64()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
    ]
)


def _manifest(parts: Iterable[tuple[int, PartFile]]) -> bytes:
    """The bytes of a manifest; equal parts in any order give equal bytes.

    Columns, built a block at a time: as Python objects a million parts would be a gigabyte.
    """
    rows = ({"number": number, **asdict(part)} for number, part in parts)
    blocks = iter(lambda: list(islice(rows, _BLOCK)), [])
    table = pa.Table.from_batches(
        (pa.RecordBatch.from_pylist(block, _MANIFEST) for block in blocks), _MANIFEST
    )
    by = [("folder", "ascending"), ("number", "ascending"), ("name", "ascending")]
    table = table.sort_by(by).combine_chunks()
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"format": str(files.FORMAT)}), sink)
    return sink.getvalue().to_pybytes()


def publish_snapshot(
    run: Path, parts: Iterable[tuple[int, PartFile]], totals: Mapping[str, int]
) -> Snapshot:
    """Write the next snapshot, unless the latest one says the same already.

    parts: (shard, part), streaming. totals: looked at when all parts have passed.
    """
    data = _manifest(parts)
    digest = hashlib.sha256(data).hexdigest()
    pointer = run / "snapshot.json"
    version = 0
    if pointer.exists():
        latest = Snapshot.latest(run)
        if latest.digest == digest and latest.is_whole():
            return latest
        version = latest.version
    snapshot = Snapshot(run, version + 1, digest)
    files.publish(snapshot.manifest, data)
    pointer_data = {"version": snapshot.version, "digest": digest, "totals": dict(totals)}
    files.publish(pointer, files.to_json(pointer_data))
    return snapshot
