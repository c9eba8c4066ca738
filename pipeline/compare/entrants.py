"""Who takes part: the chosen operators, every feature alone, and the calibrated decision product."""

from collections.abc import Iterator, Mapping
from typing import Any

import fusion
from fusion.trial import Candidate, Task
from pipeline.compare.leaderboard import FUSION, REFERENCE, SINGLE, Entrant, Training
from pipeline.config import CompareConfig, ComponentConfig
from pipeline.fit.labels import Labels

DOZEN = (
    "concat",
    "sum",
    "attention-sum",
    "deep-set",
    "gmu",
    "embracenet",
    "film",
    "lmf",
    "compact-bilinear",
    "mfb",
    "mutan",
    "block",
    "mbt",
    "poe",
)
_PRODUCT = "decision-product"


def task_of(labels: Labels, compare: CompareConfig) -> Task:
    """What all of them are trained for: the same head for every operator."""
    sizes = {"classes": labels.outputs} if labels.task != "regress" else {"outputs": labels.outputs}
    return Task(labels.task, {**sizes, "hidden": compare.hidden, "dropout": compare.dropout})


def entrants(
    compare: CompareConfig, dims: Mapping[str, int], labels: Labels
) -> tuple[list[Entrant], list[Training]]:
    """Everything that is compared, and the failures of what is too large or does not fit the data."""
    found, failed = [], []
    for row, kind, candidate in _candidates(compare, dims, labels):
        own = {name: dims[name] for name in candidate.inputs}
        try:
            cost = fusion.describe(candidate.name, own, batch=compare.batch, **candidate.options)
            fusion.afford(
                candidate.name, own, memory=compare.memory, batch=compare.batch, **candidate.options
            )
        except ValueError as err:
            found.append(Entrant(row, kind, candidate))
            failed.append(Training(row, 0.0, 0, 0, None, str(err)))
            continue
        found.append(Entrant(row, kind, candidate, cost.parameters, cost.peak_bytes))
    return found, failed


def _candidates(
    compare: CompareConfig, dims: Mapping[str, int], labels: Labels
) -> Iterator[tuple[str, str, Candidate]]:
    names = tuple(sorted(dims))
    experts = labels.task == "classify"  # decision fusion multiplies probabilities of classes
    single = _PRODUCT if experts else "sum"
    for name in names:
        yield f"only {name}", SINGLE, _candidate(single, (name,), {}, labels, compare)
    if experts:
        yield _PRODUCT, REFERENCE, _candidate(_PRODUCT, names, {}, labels, compare)
    seen = {_PRODUCT} if experts else set()
    for model in compare.models or [ComponentConfig(name=name) for name in DOZEN]:
        row = " ".join([model.name, *(f"{k}={v}" for k, v in sorted(model.options.items()))])
        if row in seen or ("labels" in fusion.FUSIONS[model.name].needs and not experts):
            continue
        seen.add(row)
        yield row, FUSION, _candidate(model.name, names, model.options, labels, compare)


def _candidate(
    name: str,
    inputs: tuple[str, ...],
    options: Mapping[str, Any],
    labels: Labels,
    compare: CompareConfig,
) -> Candidate:
    known: dict[str, Any] = labels.options(fusion.options_type(name))
    # Decision fusion brings its own heads: the same as the others get.
    if "labels" in fusion.FUSIONS[name].needs:
        known |= {"hidden": compare.hidden[0] if compare.hidden else 0}
    return Candidate(name, inputs, {**known, **options})
