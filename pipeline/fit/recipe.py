"""The keys of `training`: the recipe of the loop, and over how many workers."""

from dataclasses import dataclass

from learning.loop import Recipe


@dataclass(frozen=True)
class Training(Recipe):
    """workers: processes that share each batch; another number gives other last digits."""

    workers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 1:
            raise ValueError(f"workers: expected a number >= 1, got {self.workers}")
