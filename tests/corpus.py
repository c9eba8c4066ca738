"""A small mixed corpus on disk, for tests of whole runs: pictures, texts, sounds; some broken."""

import csv
import io
import wave
from pathlib import Path

import numpy as np
import yaml
from PIL import Image


def write_corpus(folder: Path, records: int = 60, seed: int = 0) -> Path:
    """records.csv with id, title, photo, sound, price, and run.yaml; returns the configuration.

    Of every twelve records one photo is broken, one is missing, one cell is empty; every fifth
    sound cell is empty.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "records.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "title", "photo", "sound", "price"])
        for i in range(records):
            writer.writerow(_record(folder, i, rng))
    config = {
        "source": {"path": "records.csv", "id": "sku", "types": {"price": "float"}},
        "modalities": {
            "photo": {"kind": "image"},
            "title": {"kind": "text"},
            "sound": {"kind": "audio"},
        },
        "output": "run",
        "shard": {"records": 16},
        "max_error_rate": 0.5,
        "workers": 1,  # one process less to start; test_hostile_run and test_nodes compare with more
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _record(folder: Path, i: int, rng: np.random.Generator) -> list[str]:
    photo = f"photo-{i}.png"
    if i % 12 == 3:
        (folder / photo).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    elif i % 12 == 7:
        photo = ""
    elif i % 12 != 5:  # 5: the file is missing
        (folder / photo).write_bytes(picture(rng))
    sound = f"sound-{i}.wav" if i % 5 else ""
    if sound:
        (folder / sound).write_bytes(tone(200 + 40 * (i % 6), rng))
    return [f"r{i:03d}", f"thing {i % 6} number {i}", photo, sound, str(i)]


def picture(rng: np.random.Generator) -> bytes:
    """A small PNG of noise."""
    sink = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def tone(frequency: float, rng: np.random.Generator, rate: int = 16000) -> bytes:
    """A second of a tone with noise, as a 16-bit WAV."""
    time = np.arange(rate) / rate
    samples = 0.5 * np.sin(2 * np.pi * frequency * time) + 0.05 * rng.normal(size=rate)
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    return sink.getvalue()


def part_bytes(run: Path) -> dict[str, bytes]:
    """Every part file of a run, by path."""
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for top in ("records", "errors", "features", "fused")
        for path in sorted((run / top).rglob("*"))
        if path.is_file()
    }
