"""Plots as inline SVG: no script, no library, nothing fetched. Coordinates are pixels of the view box."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

INK, QUIET, FAINT = "#1d2733", "#5c6873", "#e3e8ed"
_CHAR = 6.6  # pixels of one character at 12 px, about
_SLANT = (0.82, 0.57)  # cosine and sine of the angle at which long names stand


@dataclass(frozen=True)
class Dot:
    """A named value with its spread. x: for a scatter, the other coordinate."""

    name: str
    y: float
    colour: str
    spread: float = 0.0
    x: float = 0.0


@dataclass(frozen=True)
class Line:
    """A value that others are compared with."""

    name: str
    value: float
    colour: str


def ranking(dots: Sequence[Dot], lines: Sequence[Line], show: Callable[[float], str]) -> str:
    """One row per dot, its value across, whiskers of one spread to either side."""
    row, top, left, right, width = 26, 34, 190, 90, 940
    height = top + row * len(dots) + 30
    values = [v for d in dots for v in (d.y - d.spread, d.y + d.spread)]
    scale = _scale([*values, *(line.value for line in lines)], left, width - right)
    parts = [_grid_x(scale, top - 8, height - 22, show)]
    for line in lines:
        x = scale(line.value)
        parts.append(_stroke(x, top - 8, x, height - 22, line.colour, dash="5 4"))
        parts.append(_text(x, top - 14, line.name, "middle", line.colour, 11))
    for number, dot in enumerate(dots):
        y = top + row * number + row / 2
        parts.append(_text(left - 14, y + 4, dot.name, "end", INK))
        low, high = scale(dot.y - dot.spread), scale(dot.y + dot.spread)
        parts.append(_stroke(low, y, high, y, dot.colour, width=2.5))
        parts.append(_circle(scale(dot.y), y, 5.5, dot.colour, f"{dot.name}: {show(dot.y)}"))
        parts.append(_text(width - right + 14, y + 4, show(dot.y), "start", dot.colour))
    return _svg(width, height, parts)


def scatter(dots: Sequence[Dot], show: Callable[[float], str], *, x_name: str, y_name: str) -> str:
    """Value against a quantity that spans orders of magnitude (logarithmic), each dot with its name."""
    width, height, left, bottom, top = 940, 420, 70, 50, 24
    down = _scale([dot.y for dot in dots], height - bottom, top)
    low = math.floor(math.log10(min(dot.x for dot in dots)))
    high = max(math.ceil(math.log10(max(dot.x for dot in dots))), low + 1)

    def across(value: float) -> float:
        return left + (math.log10(value) - low) / (high - low) * (width - left - 30)

    parts = [_grid_y(down, left, width - 30, show)]
    for power in range(low, high + 1):
        x = across(10**power)
        parts.append(_stroke(x, top, x, height - bottom, FAINT))
        parts.append(_text(x, height - bottom + 18, _power(power), "middle", QUIET, 11))
    parts.append(_text((left + width) / 2, height - 10, x_name, "middle", QUIET))
    parts.append(_text(left, top - 8, y_name, "start", QUIET))
    taken = [(across(d.x) - 6, down(d.y) - 6, across(d.x) + 6, down(d.y) + 6) for d in dots]
    for dot in sorted(dots, key=lambda dot: -dot.y):
        x, y = across(dot.x), down(dot.y)
        parts.append(_circle(x, y, 5.5, dot.colour, f"{dot.name}: {show(dot.y)}"))
        label, box = _label(dot.name, x, y, taken, width)
        if label:
            taken.append(box)
            parts.append(label)
    return _svg(width, height, parts)


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    show: Callable[[float], str],
) -> str:
    """One cell per row and column; each column has colours of its own, from its worst to its best."""
    left, row, width = 190, 26, 940
    cell = min((width - left - 10) / max(len(columns), 1), 150)
    longest = max((len(column) * _CHAR for column in columns), default=0)
    slanted = longest > cell - 8
    top = longest * _SLANT[1] + 24 if slanted else 30
    width += round(longest * _SLANT[0] * 0.5) if slanted else 0
    parts = []
    for i, column in enumerate(columns):
        x = left + cell * (i + 0.5)
        if slanted:
            turn = f' transform="rotate(-35 {x:.1f} {top - 8:.1f})"'
            parts.append(_text(x, top - 8, column, "start", QUIET, 11, turn))
        else:
            parts.append(_text(x, top - 10, column, "middle", QUIET, 11))
        known = [value for own in values if (value := own[i]) is not None]
        low, high = min(known, default=0.0), max(known, default=1.0)
        for j, own in enumerate(values):
            parts.append(_cell(left + cell * i, top + row * j, cell, row, own[i], low, high, show))
    for j, name in enumerate(rows):
        parts.append(_text(left - 14, top + row * (j + 0.5) + 4, name, "end", INK))
    return _svg(width, top + row * len(rows) + 8, parts)


def _cell(
    x: float,
    y: float,
    width: float,
    height: float,
    value: float | None,
    low: float,
    high: float,
    show: Callable[[float], str],
) -> str:
    share = 0.0 if value is None else (value - low) / (high - low) if high > low else 1.0
    # From nearly white to a deep blue; dark cells get white figures.
    colour = _mix((243, 246, 250), (33, 84, 138), share**1.5)
    ink = "#ffffff" if share > 0.72 else INK
    shape = (
        f'<rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{width - 2:.1f}" height="{height - 2:.1f}" '
        f'rx="3" fill="{colour}"/>'
    )
    text = "" if value is None else show(value)
    return shape + _text(x + width / 2, y + height / 2 + 4, text, "middle", ink)


def _label(
    name: str, x: float, y: float, taken: Sequence[tuple[float, float, float, float]], width: float
) -> tuple[str, tuple[float, float, float, float]]:
    """The name beside its dot where it covers nothing; none where there is no room: the dot has a title."""
    long = len(name) * _CHAR
    for anchor, dx, dy in (
        ("start", 10, 4), ("end", -10, 4), ("middle", 0, -11), ("middle", 0, 19),
        ("start", 10, -9), ("start", 10, 17), ("end", -10, -9), ("end", -10, 17),
    ):  # fmt: skip
        start = x + dx - {"start": 0, "middle": long / 2, "end": long}[anchor]
        box = (start, y + dy - 10, start + long, y + dy + 3)
        inside = box[0] > 0 and box[2] < width
        if inside and not any(_cross(box, other) for other in taken):
            return _text(x + dx, y + dy, name, anchor, INK), box
    return "", (0, 0, 0, 0)


def _cross(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Round numbers, about five of them."""
        raw = (self.high - self.low) / 5
        unit = 10 ** math.floor(math.log10(raw))
        step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= raw)
        first = math.ceil(self.low / step)
        return [step * k for k in range(first, math.floor(self.high / step) + 1)]


def _scale(values: Sequence[float], start: float, stop: float) -> _Scale:
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or 0.01
    return _Scale(low - room, high + room, start, stop)


def _grid_x(scale: _Scale, top: float, bottom: float, show: Callable[[float], str]) -> str:
    return "".join(
        _stroke(scale(tick), top, scale(tick), bottom, FAINT)
        + _text(scale(tick), bottom + 16, show(tick), "middle", QUIET, 11)
        for tick in scale.ticks()
    )


def _grid_y(scale: _Scale, left: float, right: float, show: Callable[[float], str]) -> str:
    return "".join(
        _stroke(left, scale(tick), right, scale(tick), FAINT)
        + _text(left - 8, scale(tick) + 4, show(tick), "end", QUIET, 11)
        for tick in scale.ticks()
    )


def _power(power: int) -> str:
    names = {0: "1", 1: "10", 2: "100", 3: "1 k", 4: "10 k", 5: "100 k", 6: "1 M", 7: "10 M"}
    return names.get(power, f"{10 ** (power - 6):,} M")


def _mix(one: tuple[int, int, int], other: tuple[int, int, int], share: float) -> str:
    mixed = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'font-family="system-ui,sans-serif">{"".join(parts)}</svg>'
    )


def _text(
    x: float, y: float, text: str, anchor: str, colour: str, size: int = 12, turn: str = ""
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}"{turn}>{escape(text)}</text>'
    )


def _stroke(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1, dash: str = ""
) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def _circle(x: float, y: float, radius: float, colour: str, title: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" stroke="#fff" '
        f'stroke-width="1.5"><title>{escape(title)}</title></circle>'
    )
