"""sentence-transformers: load, `encode`, write. options: backend, dtype, batch, or nothing."""

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from benchmarks.speed.programs import common


def main() -> None:
    given = common.setting()
    model = load(given)
    rows = common.rows(given)
    with common.noted(given["output"], len(rows)):
        vectors = model.encode([row["text"] for row in rows])
        common.save(given["output"], [row["id"] for row in rows], vectors)


def load(given: dict[str, Any]) -> SentenceTransformer:
    """As the options say. OpenVINO's form of a model is made once and kept, as its users do."""
    path, options = given["models"]["text"], given["options"]
    if options.get("backend") == "openvino":
        exported = Path(given["exported"])
        if not (exported / "openvino").exists():
            SentenceTransformer(
                path, backend="openvino", device="cpu", model_kwargs={"export": True}
            ).save_pretrained(str(exported))
        return SentenceTransformer(str(exported), backend="openvino", device="cpu")
    dtype = getattr(torch, options.get("dtype", "float32"))
    return SentenceTransformer(path, device="cpu", model_kwargs={"dtype": dtype})


if __name__ == "__main__":
    main()
