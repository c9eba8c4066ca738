"""What limited a run, from what its workers measured, and what to change."""

from collections.abc import Mapping
from typing import Any

from pipeline.place import is_network
from pipeline.saved import SavedRun
from pipeline.status import Status
from pipeline.units import extract_unit

_SHOWN = 0.02  # shares below this are left out
_MOST_TO_START = 0.5  # of a command, above which its start is what limited it
_STARTING = ("plan", "ray", "precision")
_MOST_TO_TRY = 0.2  # of a command, above which it is told how to do without trying precisions

_ADVICE = {
    "read": "the source's rows are slow to read: keep large columns out of the table, or bring it nearer",
    "fetch": "files are slow to read: bring them nearer to the workers, or pack them into tar shards",
    "decode": "give it more cores, or store smaller media: they are decoded on the CPU",
    "prepare": "give it more cores",
    "write": "shards are small: raise shard.records, or write to a faster disk",
    "start": "the model is loaded once per worker, however large the corpus: this one is small",
}


def verdict(saved: SavedRun, status: Status, seconds: Mapping[str, float]) -> list[str]:
    """One or more sentences for a person; none where nothing was extracted.

    Args:
        status: of the whole run, with the seconds of all workers by step.
        seconds: of the command that just ended, by stage.
    """
    shares = step_shares(saved, status)
    if not shares:
        return []
    (modality, step), share = next(iter(shares.items()))
    others = [f"{m}.{s} {v:.0%}" for (m, s), v in list(shares.items())[1:] if v >= _SHOWN]
    beside = f" (beside it {', '.join(others)})" if others else ""
    waited = "" if step in ("encode", "start") else f"{modality}.encode waited for "
    took = "took " if not waited else ""
    advice = _faster_encoding(saved, modality) if step == "encode" else _ADVICE[step]
    sentences = [
        f"{waited}{modality}.{step} {took}{share:.0%} of the workers' time{beside}: {advice}"
    ]
    starting, whole = sum(seconds.get(name, 0.0) for name in _STARTING), sum(seconds.values())
    if starting > _MOST_TO_START * whole:
        sentences.append(
            f"{starting:.0f} s of {whole:.0f} s went into starting: larger corpora cost it once, too"
        )
    tried = seconds.get("precision", 0.0)
    if tried > _MOST_TO_TRY * whole and (same := _same_untried(saved)):
        sentences.append(
            f"{tried:.0f} s of {whole:.0f} s went into trying precisions: {same} in the configuration "
            "gives the same vectors at once, and is not checked on another corpus"
        )
    return sentences


def step_shares(saved: SavedRun, status: Status) -> dict[tuple[str, str], float]:
    """{(modality, step): share of the time that workers spent on extraction}, largest first."""
    spent = {
        (modality, step): taken
        for modality in saved.config.modalities
        for stage in status.stages
        if stage.name == extract_unit(modality)
        for step, taken in stage.spent.items()
    }
    whole = sum(spent.values())
    ordered = sorted(spent.items(), key=lambda item: -item[1])
    return {key: taken / whole for key, taken in ordered} if whole else {}


def _faster_encoding(saved: SavedRun, modality: str) -> str:
    networks = [feature for feature in saved.config.features(modality) if is_network(feature)]
    if not networks:
        return "more cores make it faster, nothing else would"
    setting = saved.settings[networks[0].name]
    if setting.device != "cpu":
        return "the GPU is busy: more of them, or a smaller model"
    advice = "more cores, a GPU or a smaller model make it faster"
    if setting.precision == "fp32":
        advice += f"; it runs in fp32 because {_why_fp32(saved, networks[0].name)}"
    return advice


def _same_untried(saved: SavedRun) -> str:
    """What in a configuration stands for the settings that were found; empty where nothing does."""
    networks = [feature.name for feature in saved.config.features() if is_network(feature)]
    found = {saved.settings[name] for name in networks}
    if len(found) != 1:
        return ""
    (setting,) = found
    if setting.device != "cpu":  # batches were tried, too
        return ""
    return f"`precision: {setting.precision}` with `runtime: {setting.runtime}`"


def _why_fp32(saved: SavedRun, feature: str) -> str:
    found: Mapping[str, Any] = saved.provenance.get("precision", {}).get(feature, {})
    if found.get("asked") != "auto":
        return "the configuration says so (precision: auto tries bf16)"
    if found.get("hardware") == "fp32":
        return "this processor gains nothing by bf16"
    if found.get("least_cosine") is None:
        return "the corpus is too small to try bf16"
    return f"bf16 changes its vectors too much (least cosine {found['least_cosine']:.4f})"
