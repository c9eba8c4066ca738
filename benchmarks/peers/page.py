"""docs/results/fusion_peers.md from the numbers beside it."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import results as shared
from benchmarks.avmnist import page as avmnist
from benchmarks.avmnist.page import Line
from benchmarks.peers.cases import FULL, OUT, SMALL

MEGA, KILO = 1e6, 1e3
HIDDEN = ", features hidden"  # what is added to the name of a class trained so


def page(results: Mapping[str, Any]) -> str:
    """The whole page."""
    text = ["# Fusion operators beside the public ones", ""]
    if "accuracy" in results:
        text += _accuracy(results["accuracy"])
    if "rows" in results:
        text += _speed(results)
    return "\n".join([*text, *shared.footer(results, "benchmarks/peers")]) + "\n"


def _speed(results: Mapping[str, Any]) -> list[str]:
    text = [
        "## At the sizes of encoders",
        "",
        f"Batch {results['batch']}, {FULL[0]} + {FULL[1]} -> {OUT} ({SMALL[0]} + {SMALL[1]} -> 64 where a",
        "weight for every pair is learned), forward and backward; CPU time of one thread, medians of "
        f"{results['repeats']} runs that took turns.",
        "MB: the most bytes alive in tensors during the forward pass, weights not counted. State: what is",
        "stored and never learned. Ours also checks its input, standardises it and honours presence.",
        "",
        "| case | theirs | ms | ours, ms | faster | MB | ours, MB | state, KB | ours, KB | aim |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in results["rows"]:
        theirs, ours = row["theirs"], row["ours"]
        timed = "ms" in ours
        cells = [
            row["name"],
            row["peer"],
            f"{theirs['ms']:.1f}" if timed else "",
            f"{ours['ms']:.1f}" if timed else "",
            f"{theirs['ms'] / ours['ms']:.1f}x" if timed else "",
            *(f"{side['forward_bytes'] / MEGA:.1f}" for side in (theirs, ours)),
            *(f"{side['state_bytes'] / 1024:.0f}" if timed else "" for side in (theirs, ours)),
            row["target"],
        ]
        text.append("| " + " | ".join(cells) + " |")
    return text


# -- AV-MNIST-Open


def _accuracy(found: Mapping[str, Any]) -> list[str]:
    recipe, about, costs = found["recipe"], found["about"], found["costs"]
    trained = [row for row in found["rows"] if "full" in row]
    theirs = {line.name: line for line in avmnist.lines({"rows": [_named(row) for row in trained]})}
    ours = _ours(recipe)
    text = [
        "## On AV-MNIST-Open",
        "",
        "Percent right of 10,000 pairs of a handwritten digit and one spoken by somebody nobody heard in",
        f"training, mean of {len({row['fold'] for row in trained})} speakers, then with one of the two. "
        "See [avmnist.md](avmnist.md).",
        "Each class is the fusion layer of one classifier: 4 + 64 standardised numbers in, one hidden layer",
        f"of {recipe['hidden'][0]}, {recipe['steps']} steps of {recipe['batch']}; folds, seeds and sizes are "
        f"those of ours ({_seeds(trained)} of theirs).",
        "Their classes know no absence: an absent feature is zeros, which is its mean. They are trained on",
        "complete records, as they are meant, and once more with each feature hidden with probability",
        f"{recipe['dropout']:g}, as ours always are; their user would have to write that.",
        "",
        "Area: the mean over 0 to 90 % missing features. Parameters: of the fusion. ms: forward and backward",
        f"of the fusion alone on {recipe['batch']} of these pairs, in turns. KB: the most bytes alive in "
        "tensors in the forward",
        "pass. Ours also checks its input, standardises it and honours presence.",
        "",
        "| fusion | full | image only | sound only | area | parameters | ms | KB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, group in costs.items():
        text.append(_row(f"**ours: {name}**", ours.get(name), group["ours"]))
        for peer in [peer for peer in group if peer != "ours"]:
            text.append(_row(peer, theirs.get(peer), group[peer]))
            text.append(_row(f"{peer}{HIDDEN}", theirs.get(peer + HIDDEN), None))
    text += [
        "",
        *_verdict(costs, theirs, ours),
        *_failures(found["rows"]),
        "",
        "- MultiBench LowRankTensorFusion keeps its factors in a plain list, where no optimiser finds them:",
        "  they stay as drawn. Repaired: the same class with the list registered by us.",
        "- torchmultimodal DeepsetFusionModule projects every feature to the length of the shortest, here 4.",
        "- mmf MCB multiplies two spectra: an absent feature makes every record the same.",
        "- MultiBench Concat and TensorFusion learn nothing themselves; ours of the second does.",
        "",
        f"Measured {about['date']}, commit {about['commit']}, {about['machine']}, "
        f"load {about['load']:.0f}.",
        "",
    ]
    return text


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "name": row["name"] + (HIDDEN if row["training"] == "dropout" else "")}


def _ours(recipe: Mapping[str, Any]) -> dict[str, Line]:
    """Our rows of the same recipe."""
    own = shared.load("avmnist")
    if own.get("recipe") != recipe:
        return {}
    return {line.name: line for line in avmnist.lines(own)}


def _seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    count = len({row["seed"] for row in rows})
    return f"{count} seed{'s' if count > 1 else ''}"


def _row(name: str, line: Line | None, cost: Mapping[str, Any] | None) -> str:
    right = [""] * 4
    if line is not None:
        numbers = (line.full, line.alone.get("image"), line.alone.get("sound"), line.area)
        right = ["" if number is None else f"{number:.1f}" for number in numbers]
    spent = [""] * 3
    if cost is not None:
        kilobytes = cost["forward_bytes"] / KILO
        spent = [f"{cost['parameters']:,}", f"{cost['ms']:.2f}", f"{kilobytes:,.0f}"]
    return "| " + " | ".join([name, *right, *spent]) + " |"


def _verdict(
    costs: Mapping[str, Mapping[str, Any]], theirs: Mapping[str, Line], ours: Mapping[str, Line]
) -> list[str]:
    """Points of ours above theirs, over the pairs where both are measured."""
    pairs = [(name, peer) for name, group in costs.items() for peer in group if peer != "ours"]
    text = []
    for how, ending in (("on complete records", ""), ("with features hidden", HIDDEN)):
        both = [(ours.get(name), theirs.get(peer + ending)) for name, peer in pairs]
        known = [(own, other) for own, other in both if own is not None and other is not None]
        if not known:
            continue
        full = [(own.full or 0) - (other.full or 0) for own, other in known]
        area = [(own.area or 0) - (other.area or 0) for own, other in known]
        text.append(f"Ours above theirs trained {how}: full {_gain(full)}; area {_gain(area)}.")
    faster = [costs[name]["ours"]["ms"] < costs[name][peer]["ms"] for name, peer in pairs]
    text.append(f"Ours takes less time in {sum(faster)} of {len(faster)} pairs at these sizes.")
    return [" ".join(text)]


def _gain(points: Sequence[float]) -> str:
    ahead = sum(point > 0 for point in points)
    return f"{statistics.mean(points):+.1f} points in the mean, ahead in {ahead} of {len(points)}"


def _failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    failed = sorted({_named(row)["name"] for row in rows if "failed" in row})
    return ["", f"Not finite in training, left out: {', '.join(failed)}."] if failed else []
