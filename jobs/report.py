"""RUN/report.html: what happened, for a person. One static page, no script, nothing fetched."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from pipeline import files
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
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2.5rem auto;padding:0 1rem;color:#1d2733}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .5rem}p{margin:.3rem 0}
.quiet{color:#5c6873}table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600;border-bottom:2px solid #d5dae0}
td,th{padding:.3rem .8rem .3rem 0;vertical-align:top}
td{border-bottom:1px solid #edf0f3}td:last-child{overflow-wrap:anywhere}
.n{text-align:right}
.bar{display:flex;height:1.4rem;border-radius:4px;overflow:hidden;margin:.8rem 0 .3rem}
.key span{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .3em 0 1em}
code{background:#f3f5f7;padding:.1em .35em;border-radius:3px}
"""


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
        "<h2>Indexes</h2>",
        _indexes(summary.run, status),
        "<h2>Errors</h2>",
        _errors(summary.run, status),
        "<h2>This command</h2>",
        _times(summary),
        "<h2>Made with</h2>",
        f"<p class=quiet>{escape(_versions(saved))}</p>",
    ]
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width">'
        f"<title>{escape(summary.run.name)}: polyfuse run</title><style>{_STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )
    path = summary.run / "report.html"
    files.publish(path, page.encode())
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
        place = f"{setting.precision} on {setting.device}"
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
    return _table(("name", "made by", "length", "computed in", "there", "failed"), rows)


def _indexes(run: Path, status: Status) -> str:
    rows = []
    for name in status.indexes:
        pointer = files.read_json(run / "index" / name / "current.json")
        manifest = files.read_json(run / "index" / name / str(pointer["version"]) / "manifest.json")
        recall = manifest["recall"]
        measured = (
            f"{recall['value']:.3f} over {recall['queries']:,} queries"
            if recall["value"] is not None
            else "too few vectors to withhold queries"
        )
        rows.append(
            (name, manifest["type"], manifest["metric"], manifest["counts"]["indexed"], measured)
        )
    heads = ("index", "type", "metric", "vectors", "recall@10, queries held out")
    return _table(heads, rows) if rows else "<p>none yet</p>"


def _errors(run: Path, status: Status) -> str:
    if not status.errors:
        return "<p>none</p>"
    counts = _table(("reason", "count"), status.errors.most_common())
    rows: list[Sequence[object]] = []
    for part in Snapshot.latest(run).parts("errors"):
        for row in pq.read_table(part.path).to_pylist():
            rows.append(
                (row["record_id"], row["feature"], row["uri"], row["reason"], row["message"])
            )
        if len(rows) > _EXAMPLES:
            break
    more = sum(status.errors.values()) - _EXAMPLES
    tail = f"<p class=quiet>and {more:,} more in errors/</p>" if more > 0 else ""
    heads = ("record", "feature", "from", "reason", "message")
    retry = f"<p>Mend the cause, then <code>polyfuse retry {escape(str(run))}</code></p>"
    return counts + "<p></p>" + _table(heads, rows[:_EXAMPLES]) + tail + retry


def _times(summary: "Summary") -> str:
    rows = [(name, f"{seconds:.1f} s") for name, seconds in summary.seconds.items()]
    return f"<p>{summary.computed:,} rows computed</p>" + _table(("stage", "time"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    numeric = [
        bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(heads))
    ]
    head = "".join(_cell("th", name, right) for name, right in zip(heads, numeric, strict=True))
    body = "".join(
        f"<tr>{''.join(_cell('td', v, right) for v, right in zip(row, numeric, strict=True))}</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(tag: str, value: object, right: bool) -> str:
    text = f"{value:,}" if isinstance(value, int) else escape(str(value))
    return f"<{tag} class=n>{text}</{tag}>" if right else f"<{tag}>{text}</{tag}>"
