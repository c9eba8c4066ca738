"""clip-retrieval: `clip_inference` on a folder with a CLIP of transformers; its vectors as Parquet.

Its sister packages import torchvision for its transforms, which this model doesn't use. The compiled
part of torchvision doesn't load beside a torch without CUDA; names of what it would define are enough
to import the rest.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.speed.programs import common

_OPERATORS = (
    "nms", "qnms", "roi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward",
    "ps_roi_align", "_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward",
    "deform_conv2d", "_deform_conv2d_backward",
)  # fmt: skip

# When this is imported, because the processes that decode import it and then torchvision.
_LIBRARY = torch.library.Library("torchvision", "DEF")
for _name in _OPERATORS:
    _LIBRARY.define(f"{_name}(Tensor input) -> Tensor")


def main() -> None:
    from clip_retrieval import clip_inference

    given = common.setting()
    output = Path(given["output"])
    folder, found = output.with_name("pictures"), output.with_name("clip")
    folder.mkdir()
    for row in common.rows(given):
        (folder / f"{row['id']}.jpg").symlink_to(row["image"])
    clip_inference(
        input_dataset=str(folder), output_folder=str(found), enable_text=False,
        clip_model=f"hf_clip:{given['models']['image']}", **given["options"],
    )  # fmt: skip
    paths = pq.read_table(found / "metadata")["image_path"].to_pylist()
    vectors = np.concatenate([np.load(file) for file in sorted(found.glob("img_emb/*.npy"))])
    common.save(given["output"], [Path(path).stem for path in paths], vectors)


if __name__ == "__main__":
    main()
