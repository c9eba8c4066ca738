"""One process of a division of the cores: `... encode SETTING`; a factor per line in, its rate out."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

import encoders
from benchmarks.speed import corpora
from encoders import image, text, windows
from encoders.base import EncoderSpec, Prepared
from encoders.media import decode
from encoders.media.limits import Limits
from pipeline.onecore import keep_freed_memory

_SECONDS = 2.0
_OWN = (image.ROWS["cpu"], dict(text.PACKED), windows.BATCH)


def main() -> None:
    setting = json.loads(sys.argv[1])
    torch.set_num_threads(setting["threads"])
    keep_freed_memory()
    options = dict(setting["encoder"])
    spec = EncoderSpec(setting["kind"], options.pop("name"), options)
    built = encoders.build(spec, precision=setting["precision"], runtime=setting["runtime"])
    prepared = _prepared(built, setting)
    for line in sys.stdin:
        _batches(float(line))
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < _SECONDS:
            built.encode(prepared)
            done += len(prepared)
        print(done / (time.perf_counter() - start), flush=True)


def _batches(factor: float) -> None:
    """What the encoders take by themselves on a CPU, times a factor; smaller ones have no setting."""
    rows, packed, examples = _OWN
    image.ROWS["cpu"] = int(rows * factor)
    for runtime, (texts, room) in packed.items():
        whole = texts * factor >= 1
        text.PACKED[runtime] = (int(texts * factor), room) if whole else (1, int(room * factor))
    windows.BATCH = int(examples * factor)


def _prepared(encoder: Any, setting: dict[str, Any]) -> list[Prepared]:
    records = corpora.read(Path(setting["table"]))[: setting["items"]]
    cells = [record[setting["kind"]] for record in records]
    if setting["kind"] == "text":
        return encoder.prepare(cells)
    folder = Path(setting["table"]).parent
    return [
        encoder.prepare([decode((folder / cell).read_bytes(), setting["kind"], Limits())])[0]
        for cell in cells
    ]


if __name__ == "__main__":
    main()
