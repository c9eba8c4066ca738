"""The page of a head: how good it is on records it has never seen, from its evaluation alone."""

from collections.abc import Mapping, Sequence
from html import escape

from fusion.evaluation import Confusion, Evaluation
from jobs.curve import loss_curve
from jobs.page import page, table
from learning.metrics import Bin, Measured

_MATRIX = 20  # classes that fit in a matrix; of more, the worst confusions are listed
_WORST = 25
_SIDE = 260  # pixels of the reliability diagram


def head_page(evaluation: Evaluation) -> str:
    """The whole page, ready to be written to a file."""
    rows = ", ".join(f"{count:,} {part}" for part, count in evaluation.rows.items())
    parts = [
        f"<h1>{escape(evaluation.name)}</h1>",
        f"<p class=quiet>{escape(_task(evaluation))}; labelled records: {escape(rows)}</p>",
        "<h2>On the test part</h2>",
        _metrics(evaluation.metrics),
        *_section("By what a record has", _patterns(evaluation)),
        *_section("What is taken for what", _confusions(evaluation)),
        *_section("Can its confidence be believed?", _reliability(evaluation.reliability)),
        *_section("Training", loss_curve(evaluation.name, evaluation.curve, evaluation.best)),
        *_section("Made with", table(("", ""), list(evaluation.made.items()))),
    ]
    return page(f"{evaluation.name}: polyfuse head", parts)


def _task(evaluation: Evaluation) -> str:
    if evaluation.task == "regress":
        return f"numbers: {', '.join(evaluation.classes)}" if evaluation.classes else "a number"
    several = "any number of " if evaluation.task == "multilabel" else "one of "
    return f"{several}{len(evaluation.classes):,} classes"


def _section(title: str, content: str) -> list[str]:
    return [f"<h2>{title}</h2>", content] if content else []


def _metrics(measured: Mapping[str, Measured]) -> str:
    rows = [(name, _number(m.value), _interval(m)) for name, m in measured.items()]
    return table(("measure", "value", "95 % interval"), rows)


def _patterns(evaluation: Evaluation) -> str:
    """The first two measures for every pattern; with one pattern there is nothing to compare."""
    if len(evaluation.patterns) < 2:
        return ""
    names = list(evaluation.metrics)[:2]
    rows = [
        [
            " + ".join(pattern.present) or "nothing",
            pattern.rows,
            *(_with_interval(pattern.metrics.get(name)) for name in names),
        ]
        for pattern in evaluation.patterns
    ]
    return table(("the record has", "records", *names), rows)


def _confusions(evaluation: Evaluation) -> str:
    wrong = [c for c in evaluation.confusions if c.true != c.predicted]
    if not evaluation.confusions:
        return ""
    matrix = ""
    if len(evaluation.classes) <= _MATRIX:
        matrix = _matrix(evaluation.classes, evaluation.confusions)
    worst = [(c.true, c.predicted, c.rows) for c in wrong[:_WORST]]
    listed = table(("is", "taken for", "records"), worst) if worst else "<p>nothing confused</p>"
    return matrix + "<p></p>" + listed


def _matrix(classes: Sequence[str], confusions: Sequence[Confusion]) -> str:
    """Rows: what it is; columns: what it is taken for; shaded by the share of the row."""
    counts = {(c.true, c.predicted): c.rows for c in confusions}
    heads = "".join(f"<th class=n>{escape(name)}</th>" for name in classes)
    body = []
    for true in classes:
        total = sum(counts.get((true, other), 0) for other in classes)
        cells = "".join(
            _shaded(counts.get((true, other), 0), total, right=true == other) for other in classes
        )
        body.append(f"<tr><th>{escape(true)}</th>{cells}</tr>")
    return f"<table><tr><th>is / taken for</th>{heads}</tr>{''.join(body)}</table>"


def _shaded(count: int, total: int, *, right: bool) -> str:
    if not count:
        return "<td class=n></td>"
    colour = "47,125,79" if right else "176,58,58"
    return f'<td class=n style="background:rgba({colour},{0.6 * count / total:.2f})">{count:,}</td>'


def _reliability(bins: Sequence[Bin]) -> str:
    """Accuracy over confidence; on the diagonal it is right as often as it says."""
    if not bins:
        return ""
    most = max(b.rows for b in bins)
    dots = "".join(
        f'<circle cx="{_SIDE * b.confidence:.1f}" cy="{_SIDE * (1 - b.accuracy):.1f}" '
        f'r="{2 + 6 * (b.rows / most) ** 0.5:.1f}" fill="#2b6cb0" fill-opacity=".75">'
        f"<title>{b.rows:,} records: confidence {b.confidence:.2f}, right {b.accuracy:.2f}</title>"
        "</circle>"
        for b in bins
    )
    box = f'viewBox="-34 -10 {_SIDE + 44} {_SIDE + 44}" width="{_SIDE + 44}"'
    return (
        f'<figure><svg {box} role="img" aria-label="reliability diagram" font-size="11">'
        f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#d5dae0"/>'
        f'<line x1="0" y1="{_SIDE}" x2="{_SIDE}" y2="0" stroke="#7a8793" stroke-dasharray="4"/>'
        f"{dots}{_ticks()}</svg><figcaption class=quiet>How often it is right over how sure it is: "
        "on the line, its confidence can be taken at its word. Larger dots stand for more records."
        "</figcaption></figure>"
    )


def _ticks() -> str:
    return "".join(
        f'<text x="{_SIDE * at:.0f}" y="{_SIDE + 16}" text-anchor="middle">{at:g}</text>'
        f'<text x="-6" y="{_SIDE * (1 - at) + 4:.0f}" text-anchor="end">{at:g}</text>'
        for at in (0, 0.5, 1)
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"


def _interval(measured: Measured) -> str:
    return f"{_number(measured.low)} to {_number(measured.high)}"


def _with_interval(measured: Measured | None) -> str:
    return "" if measured is None else f"{_number(measured.value)} ({_interval(measured)})"
