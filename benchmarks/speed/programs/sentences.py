"""sentence-transformers: load, `encode`, write. options: backend, dtype, batch, threads, or nothing."""

from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from benchmarks.speed.programs import common

given = common.setting()
options = given["options"]
extra: dict[str, Any] = {}
if "dtype" in options:
    extra["model_kwargs"] = {"dtype": getattr(torch, options["dtype"])}
if options.get("backend") == "openvino":
    extra["model_kwargs"] = {"export": True}
model = SentenceTransformer(
    given["models"]["text"], backend=options.get("backend", "torch"), device="cpu", **extra
)
rows = common.rows(given)
batch = {"batch_size": options["batch"]} if "batch" in options else {}
with common.noted(given["output"], len(rows)):
    vectors = model.encode([row["text"] for row in rows], **batch)
    common.save(given["output"], [row["id"] for row in rows], vectors)
