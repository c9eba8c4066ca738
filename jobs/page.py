"""What our HTML pages share: one static file each, no script, nothing fetched."""

from collections.abc import Sequence
from html import escape

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2.5rem auto;padding:0 1rem;color:#1d2733}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .5rem}p{margin:.3rem 0}
.quiet{color:#5c6873}table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600;border-bottom:2px solid #d5dae0}
figure{margin:.8rem 0}td,th{padding:.3rem .8rem .3rem 0;vertical-align:top}
td{border-bottom:1px solid #edf0f3}td:last-child{overflow-wrap:anywhere}
.n{text-align:right}
.bar{display:flex;height:1.4rem;border-radius:4px;overflow:hidden;margin:.8rem 0 .3rem}
.key span{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .3em 0 1em}
code{background:#f3f5f7;padding:.1em .35em;border-radius:3px}
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page of parts that are HTML already; the title is plain text."""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of plain values; columns of whole numbers are aligned right."""
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
