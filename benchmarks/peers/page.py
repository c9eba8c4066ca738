"""docs/results/fusion_peers.md from the numbers beside it."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import results as shared
from benchmarks.avmnist import page as avmnist
from benchmarks.avmnist.page import Line
from benchmarks.peers.cases import FULL, OUT, SMALL

MEGA, KILO = 1e6, 1e3
TRAININGS = {"complete": "on complete records", "dropout": "with features hidden"}


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
    about, costs = found["about"], found["costs"]
    trained = [row for row in found["rows"] if "full" in row]
    theirs = {
        training: {line.name: line for line in avmnist.lines({"rows": own})}
        for training, own in _by_training(trained).items()
    }
    ours = _ours(found["recipe"], {row["seed"] for row in trained})
    text = [
        *_setting(found["recipe"], trained),
        "",
        "| fusion | full | image only | sound only | area | parameters | ms | KB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, group in costs.items():
        text.append(_row(f"**ours: {name}**", [ours.get(name)], group["ours"]))
        for peer in _peers(group):
            text.append(_row(peer, [own.get(peer) for own in theirs.values()], group[peer]))
    return [
        *text,
        "",
        *_verdict(costs, theirs, ours),
        *_failures(found["rows"]),
        "",
        "- MultiBench LowRankTensorFusion keeps its factors in a plain list, where no optimiser finds them:",
        "  they stay as drawn. Repaired: the same class with the list registered by us.",
        "- torchmultimodal DeepsetFusionModule projects every feature to the length of the shortest, here 4.",
        "- mmf MCB multiplies two spectra: where one feature is zeros, every record becomes the same.",
        "- MultiBench Concat and TensorFusion have no weights; the classifier reads 68 and 325 numbers.",
        "",
        f"Measured {about['date']}, commit {about['commit']}, {about['machine']}, load {about['load']:.0f}.",
        "",
    ]


def _setting(recipe: Mapping[str, Any], trained: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is measured."""
    folds, seeds = len({row["fold"] for row in trained}), len({row["seed"] for row in trained})
    return [
        "## On AV-MNIST-Open",
        "",
        "Percent right of 10,000 pairs of a handwritten digit and one spoken by somebody nobody heard in",
        f"training, mean of {folds} such speakers, then with one of the two ([avmnist.md](avmnist.md)).",
        "Each class is the fusion layer of one classifier: 4 + 64 standardised numbers in, one hidden layer",
        f"of {recipe['hidden'][0]}, {recipe['steps']} steps of {recipe['batch']}; recipe, folds, sizes and "
        f"seeds ({seeds}) are those of ours.",
        "",
        "Their classes know no absence: an absent feature is zeros, which is its mean. Their two numbers:",
        "trained on complete records, as they are meant / with each feature hidden with probability "
        f"{recipe['dropout']:g},",
        "as ours always are and their user would have to write.",
        "",
        "Area: the mean over 0 to 90 % missing features. Parameters: of the fusion. ms: forward and backward",
        f"of the fusion alone on {recipe['batch']} of these pairs, in turns. KB: the most bytes alive in "
        "tensors in the",
        "forward pass. Ours also checks its input, standardises it and honours presence.",
    ]


def _by_training(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    return {name: [row for row in rows if row["training"] == name] for name in TRAININGS}


def _ours(recipe: Mapping[str, Any], seeds: set[int]) -> dict[str, Line]:
    """Our rows of the same recipe and seeds."""
    own = shared.load("avmnist")
    sizes = {name: own["recipe"]["sizes"].get(name) for name in recipe["sizes"]}
    if own["recipe"] | {"sizes": sizes} != recipe:
        return {}
    rows = [row for row in own["rows"] if row["seed"] in seeds]
    return {line.name: line for line in avmnist.lines({"rows": rows})}


def _peers(group: Mapping[str, Any]) -> list[str]:
    return [name for name in group if name != "ours"]


def _row(name: str, found: Sequence[Line | None], cost: Mapping[str, Any]) -> str:
    """found: one line per training, shown side by side."""
    lines = [line for line in found if line is not None]
    columns = [
        [line.full for line in lines],
        [line.alone.get("image") for line in lines],
        [line.alone.get("sound") for line in lines],
        [line.area for line in lines],
    ]
    right = [" / ".join(f"{x:.1f}" for x in own if x is not None) for own in columns]
    kilobytes = cost["forward_bytes"] / KILO
    spent = [f"{cost['parameters']:,}", f"{cost['ms']:.2f}", f"{kilobytes:,.0f}"]
    return "| " + " | ".join([name, *right, *spent]) + " |"


def _verdict(
    costs: Mapping[str, Mapping[str, Any]],
    theirs: Mapping[str, Mapping[str, Line]],
    ours: Mapping[str, Line],
) -> list[str]:
    """Points of ours above theirs, over the pairs where both are measured."""
    pairs = [(name, peer) for name, group in costs.items() for peer in _peers(group)]
    text = []
    for training, own in theirs.items():
        both = [(ours[name], own[peer]) for name, peer in pairs if name in ours and peer in own]
        if both:
            full = _gain([(one.full or 0) - (other.full or 0) for one, other in both])
            area = _gain([(one.area or 0) - (other.area or 0) for one, other in both])
            text.append(f"Ours above theirs {TRAININGS[training]}: full {full}; area {area}.")
    for key, what in (("ms", "time"), ("forward_bytes", "memory")):
        less = [costs[name]["ours"][key] < costs[name][peer][key] for name, peer in pairs]
        text.append(f"Ours takes less {what} in {sum(less)} of {len(less)} pairs of this size.")
    return text


def _gain(points: Sequence[float]) -> str:
    ahead = sum(point > 0 for point in points)
    return f"{statistics.mean(points):+.1f} points in the mean, ahead in {ahead} of {len(points)}"


def _failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    failed = sorted(
        {f"{row['name']} {TRAININGS[row['training']]}" for row in rows if "failed" in row}
    )
    return ["", f"Not finite in training, left out: {', '.join(failed)}."] if failed else []
