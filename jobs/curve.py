"""A loss curve as inline SVG: training and validation over the steps, the kept weights marked."""

from collections.abc import Callable, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 170, 62, 22
_TRAIN, _VALID = "#9aa7b4", "#2563a8"

Point = tuple[int, float, float | None]  # step, training loss, validation loss


def loss_curve(title: str, points: Sequence[Point], best: int) -> str:
    """The figure; empty for fewer than two points."""
    if len(points) < 2:
        return ""
    losses = [loss for _, train, valid in points for loss in (train, valid) if loss is not None]
    low, high = min(losses), max(losses)
    last = points[-1][0]

    def place(step: int, loss: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - 8) * step / last
        return x, 8 + (_HEIGHT - _BOTTOM - 16) * (high - loss) / ((high - low) or 1)

    def line(losses: Sequence[float | None], colour: str) -> str:
        pairs = zip(points, losses, strict=True)
        dots = [place(point[0], loss) for point, loss in pairs if loss is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'

    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'font-size="11" fill="#5c6873"><title>{escape(title)}: loss by step</title>'
        + _axes(low, high, last)
        + line([train for _, train, _ in points], _TRAIN)
        + line([valid for _, _, valid in points], _VALID)
        + _mark(place, points, best)
        + f'</svg><figcaption class=quiet>{escape(title)}: <span style="color:{_TRAIN}">training'
        f'</span> and <span style="color:{_VALID}">validation</span> loss; the dot is what was kept'
        "</figcaption></figure>"
    )


def _axes(low: float, high: float, last: int) -> str:
    floor = _HEIGHT - _BOTTOM
    return (
        f'<path d="M{_LEFT} 4V{floor}H{_WIDTH}" fill="none" stroke="#d5dae0"/>'
        f'<text x="{_LEFT - 6}" y="14" text-anchor="end">{high:.4g}</text>'
        f'<text x="{_LEFT - 6}" y="{floor - 4}" text-anchor="end">{low:.4g}</text>'
        f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 6}" text-anchor="end">{last:,} steps</text>'
    )


def _mark(
    place: Callable[[int, float], tuple[float, float]], points: Sequence[Point], best: int
) -> str:
    kept = next((p for p in points if p[0] == best), None)
    if kept is None:
        return ""
    x, y = place(best, kept[1] if kept[2] is None else kept[2])
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{_VALID}"/>'
