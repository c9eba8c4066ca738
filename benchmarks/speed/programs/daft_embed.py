"""Daft: `embed_text` or `embed_image` of its transformers provider, `write_parquet`."""

import daft
from daft import col
from daft.functions import decode_image, embed_image, embed_text

from benchmarks.speed.programs import common, torchvision_names

torchvision_names.define()  # here: the processes that embed import this file, then torchvision


def main() -> None:
    given = common.setting()
    kind = given["kind"]
    table = daft.read_csv(given["table"], schema={"id": daft.DataType.string()})
    if kind == "text":
        vector = embed_text(col("text"), provider="transformers", model=given["models"]["text"])
    else:
        pictures = decode_image(daft.functions.download(col("image")), mode="RGB")
        vector = embed_image(pictures, provider="transformers", model=given["models"]["image"])
    table.select(col("id"), vector.alias("vector")).write_parquet(given["output"])


if __name__ == "__main__":
    main()
