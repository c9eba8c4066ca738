"""docs/results/speed_PROCESSOR.svg: steady rates as a share of the network alone in bf16."""

from collections.abc import Mapping
from typing import Any

from benchmarks.speed import goals

WIDTH, LEFT, RIGHT, TOP = 760, 250, 60, 56
BAR, GAP, HEAD = 14, 16, 20
OURS, OTHERS = "#1b6ca8", "#b9c3cc"


def picture(results: Mapping[str, Any]) -> str:
    """Bars by case; the length of all cases follows the longest bar, at least the ceiling itself."""
    groups = []
    for name, found in results["cases"].items():
        if ceilings := goals.ceilings(found):
            measured = [(row["name"], goals.rate(found, row["name"])) for row in found["systems"]]
            bars = [(system, rate / ceilings.bf16) for system, rate in measured if rate]
            groups.append((f"{name}: {found['case']['title']}", bars))
    longest = max([1.0, *(share for _, bars in groups for _, share in bars)])
    parts, y = [], TOP
    for title, bars in groups:
        parts.append(f'<text x="12" y="{y + 12}" font-weight="bold">{title}</text>')
        y += HEAD
        for system, share in bars:
            parts += _bar(system, share, longest, y)
            y += BAR + 4
        y += GAP
    line = LEFT + (WIDTH - LEFT - RIGHT) / longest
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>',
        '<text x="12" y="24" font-size="15">Files to Parquet, steady: share of the network alone in '
        "bf16, by torch, on both cores</text>",
        f'<path d="M{line:.1f} {TOP - 12}V{y - GAP}" stroke="#888" stroke-dasharray="4 3"/>',
        f'<text x="{line:.1f}" y="{TOP - 16}" text-anchor="middle">ceiling</text>',
        *parts,
        "</svg>",
    ]) + "\n"  # fmt: skip


def _bar(system: str, share: float, longest: float, y: float) -> list[str]:
    length = (WIDTH - LEFT - RIGHT) * share / longest
    colour = OURS if system in goals.OF_OURS else OTHERS
    return [
        f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{system}</text>',
        f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<text x="{LEFT + length + 5:.1f}" y="{y + 11}" stroke="#fff" stroke-width="4" '
        f'paint-order="stroke">{share:.0%}</text>',  # readable where it lies on the line
    ]
