"""datatrove: reader, a step of our own, ParquetWriter, on its Ray executor. `... TABLE OUTPUT`."""

import sys
from collections.abc import Iterator

import ray
from datatrove.data import Document
from datatrove.executor.ray import RayPipelineExecutor
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from describe import describe

table, output = sys.argv[1:]


def described(documents: Iterator[Document], rank: int, world_size: int) -> Iterator[Document]:
    for document in documents:
        document.metadata["vector"] = describe(document.text)
        yield document


def columns(writer: ParquetWriter, document: Document) -> dict:
    return {"id": document.id, "vector": document.metadata["vector"]}


ray.init(address="local", num_cpus=2, include_dashboard=False)
RayPipelineExecutor(
    pipeline=[
        ParquetReader(table, text_key="path", id_key="id"),
        described,
        ParquetWriter(output, adapter=columns),
    ],
    tasks=8,
    workers=2,
    mem_per_cpu_gb=0.5,
    logging_dir=f"{output}-logs",
).run()
