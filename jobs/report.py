"""RUN/report.html: what happened, for a person. One static page, no script, nothing fetched."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.curve import loss_curve
from jobs.page import page, table
from jobs.summary import computed
from pipeline import files, intact
from pipeline.index import manifests
from pipeline.models import HISTORY, METRICS
from pipeline.saved import SavedRun, load_saved
from pipeline.status import Status
from pipeline.store import Snapshot

if TYPE_CHECKING:
    from pipeline.run import Summary

_EXAMPLES = 50
_COLOURS = {
    "ok": "#2f7d4f",
    "partial": "#c98a1b",
    "failed": "#b03a3a",
    "filtered": "#7a8793",
    "pending": "#d5dae0",
}


def write_report(summary: "Summary") -> Path:
    """Write the page beside the data; returns its path."""
    status = summary.status
    saved = load_saved(summary.run)
    parts = [
        f"<h1>{escape(summary.run.name)}</h1>",
        f"<p class=quiet>{escape(saved.config.source.path)}</p>",
        _outcomes(status),
        "<h2>Vectors</h2>",
        _features(saved, status),
        _trainings(summary.run, status),
        "<h2>Indexes</h2>",
        _indexes(summary.run, status),
        "<h2>Errors</h2>",
        _errors(summary.run, status),
        "<h2>This command</h2>",
        _times(summary),
        "<h2>Made with</h2>",
        f"<p class=quiet>{escape(_versions(saved))}</p>",
    ]
    path = summary.run / "report.html"
    files.publish(path, page(f"{summary.run.name}: polyfuse run", parts).encode())
    return path


def _versions(saved: SavedRun) -> str:
    named = (f"{name} {text}" for name, text in saved.provenance.items() if name != "precision")
    return ", ".join(named)


def _outcomes(status: Status) -> str:
    counts = {**status.outcomes, "pending": status.pending}
    shown = {name: count for name, count in counts.items() if count}
    bar = "".join(
        f'<div style="flex:{count};background:{_COLOURS[name]}" title="{name}"></div>'
        for name, count in shown.items()
    )
    key = "".join(
        f'<span style="background:{_COLOURS[name]}"></span>{count:,} {name}'
        for name, count in shown.items()
    )
    return f"<div class=bar>{bar}</div><p class=key>{status.records:,} records:{key}</p>"


def _features(saved: SavedRun, status: Status) -> str:
    rows = []
    for feature in saved.config.features():
        identity, setting = saved.identities[feature.name], saved.settings[feature.name]
        stage = next(s for s in status.stages if s.name == f"extract.{feature.modality}")
        place = str(setting)
        measured = saved.provenance.get("precision", {}).get(feature.name, {})
        if measured.get("least_cosine") is not None:
            place += f" (least cosine to fp32 {measured['least_cosine']:.4f})"
        rows.append(
            (feature.name, identity.encoder, identity.dim, place, stage.tried, stage.failed)
        )
    for model in saved.config.models:
        if model not in saved.identities:
            rows.append((model, "not trained yet", 0, "", 0, 0))
            continue
        identity = saved.identities[model]
        rows.append((model, f"fusion {identity.encoder}", identity.dim, "", status.records, 0))
    return table(("name", "made by", "length", "computed in", "there", "failed"), rows)


def _trainings(run: Path, status: Status) -> str:
    """A loss curve per trained model; what predicts labels gets a page of its own beside its weights."""
    parts = []
    for model in status.models:
        folder = run / "models" / model.name
        if model.state != "trained" or not (folder / HISTORY).exists():
            continue
        history = files.read_json(folder / HISTORY)
        points = [(p["step"], p["train"], p["valid"]) for p in history["points"]]
        parts.append(loss_curve(model.name, points, history["best"]))
        if (folder / METRICS).exists():
            from fusion.evaluation import Evaluation  # torch: every command would wait for it
            from jobs.head_report import head_page

            evaluation = Evaluation.from_json((folder / METRICS).read_text(encoding="utf-8"))
            files.publish(folder / "report.html", head_page(evaluation).encode())
            where = f"models/{escape(model.name)}/report.html"
            parts.append(f"<p><a href='{where}'>{escape(model.name)} on the test part</a></p>")
    return "<h2>Training</h2>" + "".join(parts) if parts else ""


def _indexes(run: Path, status: Status) -> str:
    rows = []
    for name in status.indexes:
        version = manifests.current(run / "index" / name)
        assert version is not None, "the status lists those that are there"
        manifest = manifests.read_manifest(version)
        recall = manifest.recall
        measured = (
            f"{recall['value']:.3f} over {recall['queries']:,} queries"
            if recall["value"] is not None
            else "too few vectors to withhold queries"
        )
        rows.append((name, manifest.type, manifest.metric, manifest.counts["indexed"], measured))
    heads = ("index", "type", "metric", "vectors", "recall@10, queries held out")
    return table(heads, rows) if rows else "<p>none yet</p>"


def _errors(run: Path, status: Status) -> str:
    if not status.errors:
        return "<p>none</p>"
    counts = table(("reason", "count"), status.errors.most_common())
    rows: list[Sequence[object]] = []
    for part in Snapshot.latest(run).parts("errors"):
        for row in intact.read(part.path).to_pylist():
            rows.append(
                (row["record_id"], row["feature"], row["uri"], row["reason"], row["message"])
            )
        if len(rows) > _EXAMPLES:
            break
    more = sum(status.errors.values()) - _EXAMPLES
    tail = f"<p class=quiet>and {more:,} more in errors/</p>" if more > 0 else ""
    heads = ("record", "feature", "from", "reason", "message")
    retry = f"<p>Mend the cause, then <code>polyfuse retry {escape(str(run))}</code></p>"
    return counts + "<p></p>" + table(heads, rows[:_EXAMPLES]) + tail + retry


def _times(summary: "Summary") -> str:
    rows = [(name, f"{seconds:.1f} s") for name, seconds in summary.seconds.items()]
    limits = "".join(f"<p>{escape(sentence)}</p>" for sentence in summary.verdict)
    done = f"<p>{computed(summary)}</p>"
    return done + limits + table(("stage", "time"), rows)
