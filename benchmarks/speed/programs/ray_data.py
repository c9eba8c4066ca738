"""Ray Data: read, `map_batches` with a class, `write_parquet`.

options: dtype, batch (rows), actors, cpus (of each). Documented: pictures by `read_images`, one actor
(as many as CPUs would leave none to read with, and nothing would ever move), one batch after the other
through the model. Tuned (`micro` is given): the files' bytes travel and the actor decodes them, texts
are sorted in the batch by length and go through the model `micro` at a time.
"""

from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.data import ActorPoolStrategy

from benchmarks.speed.programs import common, models


class Encoder:
    """A batch of Ray Data's, of any kind, -> id and vector."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.kind, self.output = given["kind"], given["output"]
        self.micro = given["options"].get("micro")
        if self.micro:
            torch.set_num_threads(1)
        dtype = getattr(torch, given["options"].get("dtype", "float32"))
        makers = {
            "text": models.Texts,
            "image": models.Pictures,
            "video": models.Pictures,
            "audio": models.Sounds,
        }
        self.models: dict[str, Any] = {
            modality: makers[modality](path, dtype) for modality, path in given["models"].items()
        }

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with common.noted(self.output, len(next(iter(batch.values())))):
            if self.kind == "mixed":
                media = {
                    "text": batch["text"],
                    "image": [models.decoded(Path(path).read_bytes()) for path in batch["image"]],
                    "audio": [Path(path).read_bytes() for path in batch["audio"]],
                }
                vectors = [self._encode(name, items) for name, items in media.items()]
                return {"id": batch["id"], "vector": np.concatenate(vectors, axis=1)}
            if self.kind == "text":
                return {"id": batch["id"], "vector": self._encode("text", batch["text"])}
            ids = np.array([Path(path).stem for path in batch["path"]])
            if "image" in batch:  # decoded by read_images
                return {"id": ids, "vector": self._encode("image", batch["image"])}
            return {"id": ids, "vector": self._encode_files(batch["bytes"])}

    def _encode_files(self, files: Any) -> np.ndarray:
        if self.kind == "audio":
            return self._encode("audio", files)
        if self.kind == "image":
            return self._encode("image", [models.decoded(content) for content in files])
        clips = [models.frames(content) for content in files]
        return np.stack([self._encode("video", clip).mean(axis=0) for clip in clips])

    def _encode(self, modality: str, items: Any) -> np.ndarray:
        model = self.models[modality]
        if not self.micro:
            return model(items)
        order = np.argsort([len(item) for item in items]) if modality == "text" else None
        chosen = [items[n] for n in order] if order is not None else list(items)
        parts = [model(chosen[n : n + self.micro]) for n in range(0, len(chosen), self.micro)]
        vectors = np.concatenate(parts)
        if order is None:
            return vectors
        restored = np.empty_like(vectors)
        restored[order] = vectors
        return restored


def read(given: dict[str, Any]) -> ray.data.Dataset:
    options = given["options"]
    # Otherwise a small table is one block, and one actor has it all.
    types = {"id": "string"}
    if given["kind"] in ("text", "mixed"):
        from pyarrow.csv import ConvertOptions

        table = ray.data.read_csv(
            given["table"], convert_options=ConvertOptions(column_types=types)
        )
        return table.repartition(options["blocks"]) if "blocks" in options else table
    paths = [row[given["kind"]] for row in common.rows(given)]
    if given["kind"] == "image" and "micro" not in options:
        return ray.data.read_images(paths, include_paths=True)
    return ray.data.read_binary_files(paths, include_paths=True)


def main() -> None:
    given = common.setting()
    options = given["options"]
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    encoded = read(given).map_batches(
        Encoder,
        fn_constructor_args=(given,),
        batch_size=options["batch"],
        compute=ActorPoolStrategy(size=options["actors"]),
        num_cpus=options["cpus"],
    )
    encoded.write_parquet(given["output"])


if __name__ == "__main__":
    main()
