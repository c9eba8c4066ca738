"""The keys about learning: models, what they are trained for, labels, the split, the head."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config.base import ComponentConfig, Size, Strict

PARTS = ("train", "valid", "test")


def named(value: Any) -> Any:
    """`objective: vae` is short for `objective: {name: vae}`."""
    return {"name": value} if isinstance(value, str) else value


class ModelConfig(ComponentConfig):
    """A fusion: its name, the features it takes (default: all), what it is trained for, its options.

    objective: default is the operator's own. training: the recipe, see `pipeline.fit.training`. memory:
    the most that it may need, on a batch of its training; checked before anything runs.
    """

    inputs: tuple[str, ...] | None = None
    objective: Annotated[ComponentConfig, BeforeValidator(named)] | None = None
    memory: Size = 4_000_000_000
    training: dict[str, Any] = Field(default_factory=dict)


def _one_column(value: Any) -> Any:
    if isinstance(value, list):
        raise ValueError(
            f"expected one column, got {value}; several labels of one kind go into one column of lists"
        )
    return value


class LabelConfig(Strict):
    """What is to be predicted: a column of the source, or of another file, joined by `id`."""

    column: Annotated[str, BeforeValidator(_one_column)]
    file: str | None = None
    id: str | None = None
    task: Literal["auto", "classify", "regress", "multilabel"] = "auto"


class SplitConfig(Strict):
    """Which records train, which stop the training, and which nothing but the test may see.

    By hash of the record_id, or of a column, so that all records of one group share a part; or
    as a column of the source says, whose cells are train, valid or test.
    """

    test: float = Field(default=0.2, ge=0, lt=1)
    valid: float = Field(default=0.1, ge=0, lt=1)
    group: str | None = None
    seed: int = 0
    column: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.test + self.valid >= 1:
            raise ValueError(
                f"test and valid leave nothing to train on: {self.test:g} + {self.valid:g}"
            )
        others = self.model_fields_set - {"column"}
        if self.column and any(
            getattr(self, key) != SplitConfig.model_fields[key].default for key in others
        ):
            raise ValueError("a column decides alone: leave out test, valid, group and seed")
        return self


class HeadConfig(ComponentConfig):
    """A predictor of the label on top of a model or a feature.

    on: what it reads. fusion: leave that model as it is, train it further, or train it anew.
    """

    on: str
    fusion: Literal["frozen", "tuned", "scratch"] = "frozen"
    training: dict[str, Any] = Field(default_factory=dict)
