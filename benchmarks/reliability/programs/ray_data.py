"""Ray Data: read_parquet, map_batches, write_parquet.

    ray_data.py TABLE OUTPUT [append | overwrite | checkpoint | drop]

append is Ray's default. drop: what fails is dropped, block by block, as max_errored_blocks has it.
"""

import sys

import ray
from describe import describe
from ray.data import DataContext, SaveMode
from ray.data.checkpoint import CheckpointConfig

table, output, how = sys.argv[1:]
ray.init(address="local", num_cpus=2, include_dashboard=False)
context = DataContext.get_current()
if how == "checkpoint":
    context.checkpoint_config = CheckpointConfig(
        id_column="id", checkpoint_path=f"{output}-checkpoint"
    )
if how == "drop":
    context.max_errored_blocks = -1


def described(batch: dict) -> dict:
    return {"id": batch["id"], "vector": [describe(path) for path in batch["path"]]}


# So small a source would become a single block, and that one task and one file at the end.
blocks = ray.data.read_parquet(table).repartition(target_num_rows_per_block=16)
dataset = blocks.map_batches(described, batch_size=16)
mode = SaveMode.OVERWRITE if how == "overwrite" else SaveMode.APPEND
dataset.write_parquet(output, mode=mode)
