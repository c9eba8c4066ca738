"""clip-retrieval: `clip_inference` on a folder with a CLIP of transformers; its vectors as Parquet."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.speed.programs import common, torchvision_names

torchvision_names.define()  # here: the processes that decode import this file, then torchvision


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
