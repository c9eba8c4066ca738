"""Opening an index: digests first, then FAISS under load limits, mapped rather than read."""

import functools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipeline import files
from pipeline.errors import PolyfuseError
from pipeline.index import manifests
from pipeline.index.engine import Engine
from pipeline.index.manifests import Manifest
from pipeline.index.rows import Rows
from pipeline.index.vectors import PartVectors
from pipeline.store import Snapshot

_AHEAD = 1 << 20  # bytes: Linux takes no more at once
_loading = threading.Lock()  # FAISS's load limits are global


@dataclass(frozen=True)
class OpenIndex:
    """One version of an index, ready to search. snapshot: the state of the run it was built from."""

    manifest: Manifest
    engine: Engine
    rows: Rows
    snapshot: Snapshot


def open_index(run: Path, name: str, *, full: bool = False) -> OpenIndex:
    """Open the current version of RUN/index/<name>; `full` checks all bytes even if noted as checked.

    Raises:
        PolyfuseError: there is no such index, or its manifest is damaged.
        Refused: its files are not those that its manifest names.
    """
    version = manifests.current(run / "index" / name)
    if version is None:
        known = manifests.names(run)
        hint = f"there are: {', '.join(known)}" if known else "run `polyfuse index CONFIG` first"
        raise PolyfuseError(f"{run} has no index {name!r}; {hint}")
    manifest = manifests.read_manifest(version)
    manifests.check_files(version, manifest, full=full)
    rows = Rows(files.local(version / "rows.parquet"), manifest.counts["next_id"])
    snapshot = Snapshot(run, manifest.snapshot["version"], manifest.snapshot["digest"])

    @functools.cache  # not every search reads vectors back
    def vectors() -> PartVectors:
        return PartVectors(snapshot.parts(manifest.folder), manifest.metric)

    def read(ids: np.ndarray) -> np.ndarray:
        return vectors().take(rows.positions(ids))

    index = read_index(files.local(version / "index.faiss"), manifest.type)
    if index.d != manifest.dim:
        reason = f"it speaks of {manifest.dim} numbers a vector, and there are {index.d}"
        raise files.damaged(version / "manifest.json", reason, manifests.AGAIN)
    engine = Engine(index, manifest.metric, manifest.search, read, rows.next_id)
    return OpenIndex(manifest, engine, rows, snapshot)


def read_index(path: Path, factory: str) -> Any:
    """Map a file whose digest has been checked. Never a pickle.

    Raises:
        PolyfuseError: FAISS can't read it (for example an older version of FAISS).
    """
    size = path.stat().st_size
    flags = faiss.IO_FLAG_MMAP if factory.startswith("IVF") else faiss.IO_FLAG_MMAP_IFC
    with _loading:
        # Nothing inside can be larger than the file, nor be repeated more often than it has bytes.
        faiss.set_deserialization_vector_byte_limit(max(size, 1 << 20))
        faiss.set_deserialization_loop_limit(max(size, 1 << 20))
        try:
            index = faiss.read_index(str(path), flags | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
        except RuntimeError as err:
            raise PolyfuseError(
                f"{path}: FAISS {faiss.__version__} can't read it; build it again with "
                "`polyfuse index CONFIG`"
            ) from err
    if size <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2:
        descriptor = os.open(path, os.O_RDONLY)
        threading.Thread(target=_read_ahead, args=(descriptor, size), daemon=True).start()
    return index


def _read_ahead(descriptor: int, size: int) -> None:
    """Ask for all of a file: a walk touches hundreds of places, and would wait for the disk at each."""
    for start in range(0, size, _AHEAD):
        os.posix_fadvise(descriptor, start, _AHEAD, os.POSIX_FADV_WILLNEED)
    os.close(descriptor)
