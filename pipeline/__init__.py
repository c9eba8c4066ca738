"""The data plane: configuration, sources, plan, ledger, Ray, Parquet store, FAISS index, search.

`pipeline.Run("runs/x")` is the way in for scripts and notebooks.
"""

from typing import Any

__all__ = ["Run"]


def __getattr__(name: str) -> Any:
    # Late, so that `import pipeline.errors` stays light.
    if name == "Run":
        from pipeline.results import Run

        return Run
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
