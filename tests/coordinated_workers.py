"""One of two data-parallel workers: the losses and gradients of the same rows that one worker sees.

python coordinated_workers.py FOLDER RANK
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

import fusion
from fusion import objectives
from fusion.batch import Batch
from learning import parallel
from learning.reduce import reduce

DIMS = {"a": 5, "b": 4, "c": 6}
ROWS = 60
SPACES = ("infonce", "siglip", "dcca", "dgcca", "barlow-twins", "vicreg", "cca")
SPLIT = (slice(0, 35), slice(35, ROWS))  # the workers' shares need not be equal


def measure(name, rank, world):
    """Loss, gradients averaged over the workers, and the maps of the closing reduction."""
    generator = torch.Generator().manual_seed(3)
    features = {n: torch.randn(ROWS, d, generator=generator) for n, d in DIMS.items()}
    present = {n: torch.rand(ROWS, generator=generator) < 0.8 for n in DIMS}
    batch = Batch(features, present)
    if world > 1:
        batch = batch.rows(torch.arange(ROWS)[SPLIT[rank]])
    torch.manual_seed(0)
    options = {"dim": 3} if name == "cca" else {"dim": 3, "hidden": 8}
    model = fusion.build(name, DIMS, **options)
    objective = objectives.build(fusion.FUSIONS[name].objective, model)
    for reduction in model.reductions():
        reduce(reduction, [batch])
    found = {}
    parameters = dict([*model.named_parameters(), *objective.named_parameters()])
    if parameters:
        (loss,) = objective.losses(model, batch.features, batch.present).values()
        loss.backward()
        parallel.average_gradients(parameters.values())
        found = {"loss": loss.detach(), **{n: p.grad for n, p in parameters.items()}}
    for reduction in objective.closing(model):
        reduce(reduction, [batch])
    return found | {f"maps {n}": model.maps[n].weight for n in DIMS}


if __name__ == "__main__":
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2
    )
    found = {name: measure(name, rank, 2) for name in SPACES}
    if rank == 0:
        torch.save(found, folder / "found.pt")
    dist.barrier()
    dist.destroy_process_group()
