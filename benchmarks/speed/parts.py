"""Our decoding alone, and the network alone on ready tensors: `... parts SETTING.json`, one thread.

One such process per core works at the same time, because cores share memory and cache: each says
`ready`, waits for a line, measures, and prints its numbers as JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import encoders
from benchmarks.speed.programs import models as plain
from encoders.base import Prepared
from encoders.media.errors import MediaError
from pipeline import config as configuration
from pipeline.describe import source_spec
from pipeline.isolate import InActor
from pipeline.load import Loader
from pipeline.onecore import keep_freed_memory
from pipeline.plan import make_plan
from pipeline.sources import open_source

ROWS = (4, 8, 16, 32, 64)  # per batch of median cost; the best of them is the ceiling
_PICTURES = {"image", "video"}
_LEAST = 1.0  # seconds that anything is timed for, whole passes


def main() -> None:
    """SETTING: config (YAML of a run over the records to use), folder (for a plan of its own)."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a worker
    setting = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    config = configuration.load(Path(setting["config"]))
    plan = Path(setting["folder"], f"plan-{sys.argv[2]}")
    source = open_source(source_spec(config), plan)
    make_plan(source, plan, **config.shard_sizes)
    found: dict[str, Any] = dict.fromkeys(("decode", "fp32", "bf16", "openvino"), 0.0)
    found |= {"plain": None, "rows": {}}
    steps = [_modality(config, source, plan, name) for name in config.modalities]
    for step in steps:
        next(step)
    print("ready", flush=True)
    sys.stdin.readline()
    for step in steps:
        for name, value in next(step).items():
            if name == "rows":
                found["rows"] |= value
            elif value is not None:
                found[name] = (found[name] or 0.0) + value
    if not _PICTURES.issuperset(config.modalities):  # the others have no part in that time
        found["plain"] = None
    print(json.dumps(found), flush=True)


def _modality(config: Any, source: Any, plan: Path, modality: str) -> Iterator[dict[str, Any]]:
    """Build, yield nothing; then seconds per record of each part."""
    from pipeline.extract import columns_read
    from pipeline.plan import Plan

    (feature,) = config.features(modality)
    half = encoders.build(feature.encoder, precision="bf16", device="cpu")
    columns = columns_read(config, modality)
    shards = Plan.open(plan).shards()
    rows = [row for shard in shards for row in source.read(shard, columns)]
    yield {}
    decoder = InActor(config.media_limits)
    loader = Loader(source, config, modality, decoder, {feature.stream: half})

    def decode() -> list[Prepared]:
        prepared: list[Prepared] = []
        for row in rows:
            items = loader.load(row)[feature.stream]
            if isinstance(items, MediaError):  # of a corpus that was generated whole
                raise items
            prepared += half.prepare(items)
        return prepared

    seconds = {"decode": timed(decode) / len(rows), "plain": None}
    if modality in _PICTURES:
        seconds["plain"] = timed(_plain(modality, rows, config, feature)) / len(rows)
    items = decode()
    full = encoders.build(feature.encoder, precision="fp32", device="cpu")
    compiled = encoders.build(feature.encoder, precision="bf16", runtime="openvino")
    best, chosen = _ceiling(half, items, ROWS)
    slow, _ = _ceiling(full, items, (chosen,))
    fast, _ = _ceiling(compiled, items, ROWS)
    yield {
        **seconds, "bf16": best / len(rows), "fp32": slow / len(rows),
        "openvino": fast / len(rows), "rows": {modality: chosen},
    }  # fmt: skip


def _plain(modality: str, rows: Sequence[Any], config: Any, feature: Any) -> Callable[[], object]:
    """The same files by Pillow or PyAV and the processor of transformers."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(feature.encoder.options["model"])
    files = [Path(row.cells[config.column(modality)]) for row in rows]

    def decode() -> None:
        for file in files:
            content = file.read_bytes()
            found = [plain.decoded(content)] if modality == "image" else plain.frames(content)
            processor(found, return_tensors="pt")

    return decode


def _ceiling(encoder: Any, items: Sequence[Prepared], rows: Sequence[int]) -> tuple[float, int]:
    """(seconds for all items, the best number of rows). encoder: a network.

    The least of all numbers of rows, and of what the encoder makes of the whole list by itself, which
    no batch of ours may be faster than.
    """
    costs = [encoder.cost(item) for item in items]
    typical = sorted(costs)[len(costs) // 2]
    tried = {}
    for count in rows:
        chosen = batches(costs, count * typical)
        ready = [encoder.tensors([items[n] for n in part]) for part in chosen]
        for tensors in ready:  # as `encode` does: one vector per example, averaged outside
            tensors.pop("owner", None)
            tensors.pop("weight", None)

        def forward(ready: Sequence[dict[str, torch.Tensor]] = ready) -> None:
            with torch.inference_mode():
                for tensors in ready:
                    encoder.module(**tensors)

        tried[count] = timed(forward)
    best = min(tried, key=tried.__getitem__)
    return min(tried[best], timed(lambda: encoder.encode(items))), best


def batches(costs: Sequence[int], budget: int) -> list[list[int]]:
    """Places of the items in batches whose size times its highest cost stays within a budget.

    From the cheapest to the dearest, so that little is padded; an item above the budget is alone.
    """
    plan: list[list[int]] = []
    for place in sorted(range(len(costs)), key=costs.__getitem__):
        if plan and (len(plan[-1]) + 1) * costs[place] <= budget:
            plan[-1].append(place)
        else:
            plan.append([place])
    return plan


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call: the median of calls for at least a second, after one that warms up."""
    work()
    seconds: list[float] = []
    while sum(seconds) < _LEAST:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2]


if __name__ == "__main__":
    main()
