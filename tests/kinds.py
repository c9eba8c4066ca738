"""Records as every kind of source, which may be written again: longer, shorter or edited."""

import csv
import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.plan import Plan
from pipeline.sources import SourceSpec, open_source


class Corpus:
    """Writes records {id: text} as one kind of source; later times for later writes."""

    columns: tuple[str, ...] = ("text",)
    id: str | None = "id"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = 1_000_000
        root.mkdir()

    @property
    def path(self) -> Path:
        return self.root

    def stamp(self, path: Path) -> None:
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    def source(self, plan: Path):
        return open_source(SourceSpec(str(self.path), self.id, columns=self.columns), plan)

    def read(self, plan: Path) -> dict[str, str]:
        source = self.source(plan)
        shards = list(Plan.open(plan).shards())
        rows = [row for shard in shards for row in source.read(shard, self.columns)]
        assert len({row.record_id for row in rows}) == len(rows) == Plan.open(plan).totals.records
        return {row.record_id.rsplit("/", 1)[-1]: self.text(row.cells) for row in rows}

    def text(self, cells) -> str:
        return cells["text"]


class Csv(Corpus):
    def write(self, records):
        path = self.root / "a.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text"])
            writer.writerows(records.items())
        self.stamp(path)


class Jsonl(Corpus):
    def write(self, records):
        path = self.root / "a.jsonl"
        lines = [json.dumps({"id": key, "text": text}) for key, text in records.items()]
        path.write_text("\n".join(lines))  # the last line has no newline and gets one when it grows
        self.stamp(path)


class ParquetFiles(Corpus):
    """Appending to Parquet means adding a file: ten records each."""

    def write(self, records):
        items = list(records.items())
        for part, start in enumerate(range(0, len(items), 10)):
            keys, texts = zip(*items[start : start + 10], strict=True)
            path = self.root / f"part-{part:03}.parquet"
            table = pa.table({"id": keys, "text": texts})
            if not path.exists() or not pq.read_table(path).equals(table):
                pq.write_table(table, path)
                self.stamp(path)
        for path in sorted(self.root.glob("*.parquet"))[-(-len(items) // 10) :]:
            path.unlink()


class Tar(Corpus):
    columns, id = ("txt",), None

    def write(self, records):
        path = self.root / "a.tar"
        with tarfile.open(path, "w") as tar:
            for key, text in records.items():
                info = tarfile.TarInfo(f"{key}.txt")
                info.size, info.mtime = len(text), 1
                tar.addfile(info, io.BytesIO(text.encode()))
        self.stamp(path)

    def text(self, cells):
        return cells["txt"]


class Folder(Corpus):
    columns, id = ("txt", "image"), None

    def write(self, records):
        (self.root / "sub").mkdir(exist_ok=True)
        for path in self.root.glob("sub/*.txt"):
            if path.stem not in records:
                path.unlink()
        for key, text in records.items():
            path = self.root / "sub" / f"{key}.txt"
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                self.stamp(path)
        (self.root / "sub" / "zz.jpg").write_text("an image alone")
        os.utime(self.root / "sub" / "zz.jpg", (1, 1))

    def read(self, plan):
        found = super().read(plan)
        assert found.pop("zz") is None
        return found

    def text(self, cells):
        return cells["txt"]


KINDS = [Csv, Jsonl, ParquetFiles, Tar, Folder]
RECORDS = {f"k{n:03}": f"text {n}" for n in range(100)}
