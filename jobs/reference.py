"""docs/models.md, generated: what `models`, `label`, `split` and `head` may be given.

    python -m jobs.reference > docs/models.md

The tables come from the `Options` dataclasses that validate a configuration; a test compares.
"""

import dataclasses
import inspect
import sys
from collections.abc import Sequence
from typing import Any

import fusion
from fusion import objectives
from fusion.heads import HEADS
from pipeline.config import LabelConfig, SplitConfig
from pipeline.fit.recipe import Training

_PAGE = """\
# Models: what is trained, and how

`polyfuse fit CONFIG` trains the models of a configuration on the vectors that a run has stored; \
`polyfuse run` does it on its way. This page is generated (`python -m jobs.reference`).

```yaml
models:
  concat: {{name: concat}}                       # needs no training
  joint:                                       # RUN/models/joint, RUN/fused/joint, an index
    name: gmu                                  # an operator, see below
    inputs: [image, text]                      # features or earlier models; default: every feature
    dim: 256                                   # the operator's own options
    objective: {{name: classify, dropout: 0.2}}  # what it is trained for; default: the operator's own
    training: {{steps: 5000, workers: 2}}
label: {{column: category}}                      # for what learns from labels
split: {{test: 0.2, valid: 0.1, group: seller}}
head: {{name: mlp, on: joint, fusion: frozen}}   # RUN/models/head: predicts the label
```

An unknown key is refused with its path and the nearest known one. A model that learns from labels \
is refused where there are none. What follows from the labels (`classes`, `outputs`) is never given.

## When a model is trained

A model is trained when it is new, when what is asked of it has changed (operator, options, \
objective, training, inputs, label, split), or when its files are damaged. New or changed records \
alone train nothing: every vector of the run would become another. They get vectors from the model \
that is there, and the command says so; `polyfuse fit CONFIG --again` trains it on all of them. \
`workers` changes the last digits only, so it may change without a new training.

A training that is killed goes on from its last look at the validation part, and ends with the \
weights of one that was never disturbed, bit for bit, with the same number of workers. The test \
part of the split is used once, after training and calibration, for RUN/models/&lt;name&gt;/metrics.json.

## training

| key | default | meaning |
| --- | --- | --- |
{training}

One update with `workers: N` is made by N processes of Ray Train, each with 1/N of the batch.

## label

| key | default |
| --- | --- |
{label}

`column` is a column of the source, or of `file` (.csv, .tsv, .jsonl, .parquet), joined by its `id` \
column. `task: auto`: words, booleans and up to 100 different whole numbers are classes, other \
numbers are numbers, lists are several classes at once. An empty cell is an unlabelled record.

## split

| key | default |
| --- | --- |
{split}

By a hash of the record_id and `seed`: a record keeps its part when others come or go. `group`: the \
hash of this column instead, so that its records stay together. `column` decides alone: its cells \
are train, valid or test, and a record without one takes no part. The result is in RUN/split/.

## head

`on`: a model or a feature. `fusion`: `frozen` leaves that model as it is, `tuned` trains it \
further, `scratch` trains it anew. Further keys are those of the objective that fits the label. \
`training`: as above.

| head | what it is | options beneath yours |
| --- | --- | --- |
{heads}

## Objectives

| objective | what the fusion is trained for | needs | options (default) |
| --- | --- | --- | --- |
{objectives}

## Operators

| operator | what it is | trained for | needs | options (default) |
| --- | --- | --- | --- | --- |
{fusions}

## What the options mean

{meanings}
"""


def page() -> str:
    """The text of docs/models.md."""
    types = {name: fusion.options_type(name) for name in fusion.FUSIONS}
    goals = {name: objectives.target(name).Options for name in objectives.OBJECTIVES}
    return _PAGE.format(
        training=_rows(_training()),
        label=_rows([(f"`{k}`", _default(f.default)) for k, f in LabelConfig.model_fields.items()]),
        split=_rows([(f"`{k}`", _default(f.default)) for k, f in SplitConfig.model_fields.items()]),
        heads=_rows([(f"`{n}`", e.summary, _plain(e.options)) for n, e in HEADS.items()]),
        objectives=_rows(
            [
                (f"`{n}`", e.summary, _needs(e.needs), _options(goals[n]))
                for n, e in objectives.OBJECTIVES.items()
            ]
        ),
        fusions=_rows(
            [
                (f"`{n}`", e.summary, e.objective or "", _needs(e.needs), _options(types[n]))
                for n, e in fusion.FUSIONS.items()
            ]
        ),
        meanings="\n".join(
            f"- **{name}**: {_sentence(options)}"
            for name, options in sorted({**types, **goals}.items())
            if dataclasses.fields(options)
        ),
    )


def _training() -> list[tuple[str, str, str]]:
    words = f"{_sentence(Training.__mro__[1])} {_sentence(Training)}"
    names = [field.name for field in dataclasses.fields(Training)]
    rows = []
    for field in dataclasses.fields(Training):
        _, sign, rest = words.partition(f" {field.name}: ")
        ends = [rest.find(f" {other}: ") for other in names if f" {other}: " in rest]
        meaning = rest[: min(ends)] if sign and ends else rest if sign else ""
        rows.append((f"`{field.name}`", _default(field.default), meaning.strip()))
    return rows


def _options(options: type) -> str:
    return ", ".join(
        f"`{field.name}` ({_given(field)})"
        for field in dataclasses.fields(options)
        if field.name not in ("classes", "outputs")
    )


def _given(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return _default(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return _default(field.default_factory())
    return "required"


def _default(value: Any) -> str:
    if value is None or value in ("", (), [], {}):
        return "none"
    return "required" if repr(value) == "PydanticUndefined" else f"{value}".lower()


def _plain(options: Any) -> str:
    return ", ".join(f"`{key}: {value}`" for key, value in options.items()) or "none"


def _needs(needs: frozenset[str]) -> str:
    return ", ".join(sorted(needs))


def _sentence(owner: type) -> str:
    return " ".join((inspect.getdoc(owner) or "").split())


def _rows(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.stdout.write(page())
