"""docs/results/avmnist.svg: accuracy against the share of missing features, drawn without a library."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.avmnist.page import REFERENCES, Line, lines
from benchmarks.avmnist.recipe import RATES

WIDTH, HEIGHT = 740, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 215, 44, 52
COLOURS = ("#1b6ca8", "#c8553d", "#3c8d5a", "#8a5aa8", "#8c6d31")
SHOWN = ("decision-product", "mean-filled", "zero-filled")


def picture(results: Mapping[str, Any]) -> str:
    """The best two operators and the references; the other operators in grey behind them."""
    curves = [line for line in lines(results) if line.missing]
    operators = [line for line in curves if line.name not in REFERENCES]
    named = [*operators[:2], *(line for line in curves if line.name in SHOWN)]
    low = 10 * int(min(min(line.missing) for line in curves) / 10)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" font-size="15">Percent right while features go missing, '
        "speakers unheard in training</text>",
        *_axes(low),
        *(_curve(line, "#d0d0d0", 1, low) for line in operators[2:]),
    ]
    for line, colour in zip(named, COLOURS, strict=False):
        parts.append(_curve(line, colour, 2.5, low))
    parts += _labels(named, low)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(rate: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * rate / RATES[-1]


def _y(accuracy: float, low: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (100 - accuracy) / (100 - low)


def _axes(low: int) -> list[str]:
    end = WIDTH - RIGHT
    parts = []
    for value in range(low, 101, 10):
        y = _y(value, low)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{end}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    for rate in RATES[::3]:
        x = _x(rate)
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{rate:.0%}</text>'
        )
    middle = (LEFT + end) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">missing features</text>'
    )
    return parts


def _curve(line: Line, colour: str, width: float, low: float) -> str:
    points = " ".join(
        f"{_x(rate):.1f},{_y(value, low):.1f}"
        for rate, value in zip(RATES, line.missing, strict=True)
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _labels(named: Sequence[Line], low: float) -> list[str]:
    """Beside the ends of the curves, pushed apart where they would overlap."""
    placed: list[str] = []
    last = -100.0
    colours = {line.name: colour for line, colour in zip(named, COLOURS, strict=False)}
    for line in sorted(named, key=lambda line: -line.missing[-1]):
        last = max(_y(line.missing[-1], low) + 4, last + 17)
        placed.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{last:.1f}" fill="{colours[line.name]}">'
            f"{line.name}: {line.full:.1f} complete</text>"
        )
    return placed
