"""What a comparison found, for a person: a table on the terminal, and leaderboard.html with plots."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from rich.table import Table

from fusion.cost import size
from jobs import plots
from jobs.terminal import table
from pipeline import files
from pipeline.compare.leaderboard import FUSION, REFERENCE, SINGLE, Leaderboard, Row

_ABOVE, _BELOW, _BAR = "#1f6f8b", "#c4622d", "#5b4b8a"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2.5rem auto;padding:0 1rem;color:#1d2733}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2.4rem 0 .4rem}p{margin:.3rem 0}
.quiet{color:#5c6873}.verdict{font-size:1.15rem;margin:1rem 0 .4rem}svg{width:100%;height:auto}
.cut{background:#fff6e6;border-left:4px solid #e0a030;padding:.4rem .8rem;margin:.8rem 0}
.key i{display:inline-block;width:.75em;height:.75em;border-radius:50%;margin:0 .35em 0 1em}
.key i:first-child{margin-left:0}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;border-bottom:2px solid #d5dae0}
td,th{padding:.3rem .9rem .3rem 0;white-space:nowrap}td{border-bottom:1px solid #edf0f3}.n{text-align:right}
tr.bar td{background:#f6f4fb}tr.below td:first-child{color:#c4622d}td.mark{color:#c4622d;white-space:normal}
tr.bar td.mark{color:#5b4b8a}
"""
_HEADS = ("fusion", "", "spread", "seeds", "rate", "parameters", "ms / 1,000", "peak memory")


def to_table(board: Leaderboard) -> Table:
    """The table for a terminal of 80 columns; what could not be trained is told by `notes`."""
    show = shown(board.metric)
    cells = []
    for row in board.rows:
        if row.mean is not None:
            spread = "" if row.spread is None else f" ± {show(row.spread)}"
            name, _, _, _, _, parameters, milliseconds, peak = _cells(row, show)
            value = f"{show(row.mean)}{spread}"
            cells.append((name, value, parameters, milliseconds, peak, _marked(row)))
    heads = ("fusion", board.metric, "weights", "ms/1,000", "peak", "")
    grid = table("", heads, cells)
    for column in grid.columns:
        column.no_wrap = True
    return grid


def notes(board: Leaderboard) -> list[str]:
    """Why rows have no number, and what the budget did not allow."""
    cut = [f"cut to fit the budget: {'; '.join(board.cuts)}"] if board.cuts else []
    left: dict[str, list[str]] = {}
    for row in board.rows:
        if row.mean is None:
            left.setdefault(row.note, []).append(row.row)
    return cut + [f"{', '.join(rows)}: {note}" for note, rows in left.items()]


def write_page(board: Leaderboard, folder: Path) -> Path:
    """Write leaderboard.html; returns its path."""
    title = f"{board.name}: which fusion?"
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{''.join(_body(board))}</body></html>"
    )
    path = folder / "leaderboard.html"
    files.publish(path, page.encode())
    return path


def verdict(board: Leaderboard) -> str:
    """The answer in one sentence."""
    show = shown(board.metric)
    scored = [row for row in board.rows if row.mean is not None]
    if not scored:
        return "nothing was trained within the budget; the same command goes on"
    first, mean, spread = scored[0], scored[0].mean or 0.0, scored[0].spread
    text = f"{first.row} is best: {board.metric} {show(mean)}"
    if spread is not None:
        text += f" ± {show(spread)} over {first.seeds} seeds"
        close = [row.row for row in scored[1:] if (row.mean or 0.0) >= mean - spread]
        if close:
            text += f" (within that spread: {', '.join(close)})"
    for row in scored[1:]:
        if row.best_single or row.kind == REFERENCE:
            name = f"the best single modality ({row.row})" if row.best_single else f"the {row.row}"
            gain = mean - (row.mean or 0.0)
            text += f"; {_gain(board.metric, gain)} {name}"
    return text


def shown(metric: str) -> Callable[[float], str]:
    """How numbers of this metric are written."""
    if metric == "accuracy":
        return lambda value: f"{100 * value:.1f} %"
    return lambda value: f"{value:.3f}"


def _marked(row: Row) -> str:
    """What a reader must know about a row, in a few words."""
    if row.below:
        single = any(name.startswith("only ") for name in row.below)
        product = any(not name.startswith("only ") for name in row.below)
        return "below " + " and ".join(["product"] * product + ["single"] * single)
    if row.best_single:
        return "best single"
    return "calibrated" if row.kind == REFERENCE else row.note


def _gain(metric: str, gain: float) -> str:
    if gain < 0.0005:
        return "no better than"
    return f"{100 * gain:.1f} points above" if metric == "accuracy" else f"{gain:.3f} above"


def _body(board: Leaderboard) -> list[str]:
    show = shown(board.metric)
    scored = [row for row in board.rows if row.mean is not None]
    # One modality alone, unless it is the best, would only squeeze the scale.
    drawn = [row for row in scored if row.kind != SINGLE or row.best_single]
    about = " · ".join(f"{escape(key)} {escape(str(value))}" for key, value in board.about.items())
    parts = [
        f"<h1>{escape(board.name)}: which fusion?</h1>",
        f"<p class=quiet>{about}</p>",
        f"<p class=verdict>{escape(verdict(board))}.</p>",
    ]
    if board.cuts:
        cuts = escape("; ".join(board.cuts))
        parts.append(
            f"<p class=cut>Cut to fit the budget: {cuts}. A larger --budget gives more.</p>"
        )
    if scored:
        parts += [
            f"<h2>{escape(board.metric.capitalize())} on the test part</h2>",
            _KEY,
            plots.ranking([_dot(row) for row in drawn], _lines(drawn), show),
            "<h2>What is missing</h2>",
            "<p class=quiet>Given only these features, on the test records that have them; "
            "one set of weights per row. Colours compare within a column.</p>",
            _heat(scored, show),
            "<h2>What it takes</h2>",
            plots.scatter(
                [_dot(row) for row in drawn if row.parameters],
                show, x_name="parameters, operator and head", y_name=board.metric,
            ),
        ]  # fmt: skip
    parts += ["<h2>All numbers</h2>", _table(board, show)]
    return parts


_KEY = (
    f'<p class="quiet key"><i style="background:{_ABOVE}"></i>fusion'
    f'<i style="background:{_BELOW}"></i>fusion below a reference'
    f'<i style="background:{_BAR}"></i>single modality or calibrated decision product'
    " &nbsp; dot: mean over the seeds, line: ± standard deviation</p>"
)


def _colour(row: Row) -> str:
    if row.kind != FUSION:
        return _BAR
    return _BELOW if row.below else _ABOVE


def _dot(row: Row) -> plots.Dot:
    return plots.Dot(row.row, row.mean or 0, _colour(row), row.spread or 0, row.parameters)


def _lines(rows: Sequence[Row]) -> list[plots.Line]:
    bars = [row for row in rows if row.best_single or row.kind == REFERENCE]
    return [plots.Line(row.row, row.mean or 0, _BAR) for row in bars]


def _heat(rows: Sequence[Row], show: Callable[[float], str]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.patterns))
    values = [[_shown_of(row, name) for name in names] for row in rows]
    every = max((name.split("+") for name in names), key=len, default=[])
    return plots.heat_map([row.row for row in rows], [_said(n, every) for n in names], values, show)


def _said(pattern: str, every: Sequence[str]) -> str:
    """A pattern in words."""
    shown = pattern.split("+")
    hidden = [name for name in every if name not in shown]
    if not hidden:
        return "everything"
    if len(shown) == 1:
        return f"only {shown[0]}"
    return f"without {hidden[0]}" if len(hidden) == 1 else " + ".join(shown)


def _shown_of(row: Row, pattern: str) -> float | None:
    """Nothing where a single modality would have to guess."""
    known = set(row.inputs) & set(pattern.split("+"))
    return row.patterns[pattern].mean if known and pattern in row.patterns else None


def _table(board: Leaderboard, show: Callable[[float], str]) -> str:
    heads = ("fusion", board.metric, *_HEADS[2:], "")
    head = "".join(f"<th{_right(i)}>{escape(name)}</th>" for i, name in enumerate(heads))
    lines = "".join(_line(row, show) for row in board.rows)
    return f"<div class=wide><table><tr>{head}</tr>{lines}</table></div>"


def _line(row: Row, show: Callable[[float], str]) -> str:
    kind = "bar" if row.kind != FUSION else "below" if row.below else ""
    if row.mean is None:
        said = f'<td colspan="{len(_HEADS)}" class=mark>{escape(row.note)}</td>'
        return f"<tr><td>{escape(row.row)}</td>{said}</tr>"
    cells = enumerate(_cells(row, show))
    body = "".join(f"<td{_right(i)}>{escape(cell)}</td>" for i, cell in cells)
    return f'<tr class="{kind}">{body}<td class=mark>{escape(_marked(row))}</td></tr>'


def _cells(row: Row, show: Callable[[float], str]) -> tuple[str, ...]:
    return (
        row.row,
        "" if row.mean is None else show(row.mean),
        "" if row.spread is None else f"± {show(row.spread)}",
        str(row.seeds),
        "" if row.learning_rate is None else f"{row.learning_rate:g}",
        _count(row.parameters),
        "" if row.milliseconds is None else f"{row.milliseconds:.1f}",
        size(row.peak_bytes),
    )


def _count(number: int) -> str:
    """1520912 -> 1.52 M."""
    if number < 1000:
        return str(number)
    return f"{number / 1e3:.3g} k" if number < 999_500 else f"{number / 1e6:.3g} M"


def _right(column: int) -> str:
    return " class=n" if 0 < column < len(_HEADS) else ""
