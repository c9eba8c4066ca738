"""From a generated corpus to its nearest neighbours, in Python.

    python examples/first_run.py [FOLDER]

What `polyfuse sample`, `run` and `search` do, as functions: for a notebook or a job of your own.
"""

import sys
import tempfile
from pathlib import Path

from jobs.sample import write_sample
from pipeline import Run, config
from pipeline.run import run


def main(folder: Path) -> None:
    """Write the sample, run it, look at what came out."""
    checked = config.load(write_sample(folder), ["workers=2"])
    summary = run(checked)  # running it again continues, and here does nothing
    print(summary.status.outcomes)

    results = Run(summary.run)
    record_ids, vectors = results.vectors("image")  # rows of NaN where a record has no image
    print(f"{len(record_ids)} records, image vectors of length {vectors.shape[1]}")

    # A picture that the corpus does not hold; records without a title are found as well.
    query = {"image": folder / "queries" / "picture.jpg"}
    for hit in results.search(query, where="seller != 'seller-1'", k=3):
        print(hit.rank, f"{hit.score:.3f}", hit.record_id, hit.metadata["concept"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch, "sample"))
