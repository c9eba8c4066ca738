"""How each concept looks: one function each, drawing it at a moment of its movement.

All take (canvas, rng, time). `rng` starts from the same seed for every moment of one clip, so that
what is random about the thing (how many drops, which pipes) stays, and only time moves it.
"""

from collections.abc import Callable

import numpy as np

from jobs.corpus.canvas import Canvas, Point

Paint = Callable[[Canvas, np.random.Generator, float], None]


def _around(radius: float, angle: float, at: Point = (0, 0)) -> Point:
    return at[0] + radius * float(np.cos(angle)), at[1] + radius * float(np.sin(angle))


def _wrap(value: float, reach: float) -> float:
    """Back in at the other side: for things that keep falling, rising or passing."""
    return (value + reach) % (2 * reach) - reach


def bell(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """A golden bell that swings."""
    swing = 0.25 * np.sin(2 * np.pi * rng.uniform(0.8, 1.2) * time + rng.uniform(0, 6))

    def tilted(x: float, y: float) -> Point:
        return x + swing * (y + 0.8), y

    canvas.stroke([(-0.7, -0.82), (0.7, -0.82)], (110, 70, 30), 0.1)
    body = [(-0.14, -0.7), (-0.32, -0.4), (-0.4, 0.1), (-0.68, 0.5), (0.68, 0.5), (0.4, 0.1)]
    canvas.shape([tilted(*p) for p in [*body, (0.32, -0.4), (0.14, -0.7)]], (230, 180, 40))
    canvas.stroke([tilted(-0.55, 0.3), tilted(0.55, 0.3)], (170, 120, 20), 0.06)
    canvas.disc(tilted(swing, 0.62), 0.13, (140, 95, 20))


def siren(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """A red dome lamp with turning beams on a night sky."""
    turn = rng.uniform(0, 6) + time * rng.uniform(3, 5)
    for beam in np.arange(4) * np.pi / 2:
        spread = [_around(1.5, turn + beam + side, (0, 0.1)) for side in (-0.16, 0.16)]
        canvas.shape([(0, 0.1), *spread], (255, 120, 90))
    canvas.disc((0, 0.1), 0.5, (225, 25, 30))
    canvas.disc((-0.15, -0.08), 0.14, (255, 170, 160))
    canvas.shape([(-0.7, 0.3), (0.7, 0.3), (0.7, 0.75), (-0.7, 0.75)], (70, 70, 80))


def engine(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """A grey gear wheel, and a smaller one beside it, turning."""
    turn, teeth = rng.uniform(0, 6) + 1.6 * time, int(rng.integers(9, 13))
    for at, radius, way in (((-0.2, 0.05), 0.62, 1), ((0.62, -0.42), 0.32, -1.8)):
        for tooth in range(teeth):
            angle = way * turn + tooth * 2 * np.pi / teeth
            canvas.stroke([at, _around(radius * 1.25, angle, at)], (95, 98, 105), radius * 0.3)
        canvas.disc(at, radius, (120, 124, 132))
        canvas.ring(at, radius * 0.75, (75, 78, 85), 0.05)
        canvas.disc(at, radius * 0.25, (40, 42, 46))


def rain(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """Slanting streaks under a dark cloud."""
    across, down = canvas.half
    slant = rng.uniform(0.08, 0.16)
    for x, y, length in zip(
        rng.uniform(-1.2, 1.2, 90) * across,
        rng.uniform(-1, 1, 90) * down,
        rng.uniform(0.2, 0.4, 90),
        strict=True,
    ):
        top = _wrap(float(y) + 2.2 * time, down)
        canvas.stroke([(x, top), (x - slant * length, top + length)], (190, 210, 240), 0.028)
    for x in np.linspace(-across, across, 7):
        canvas.disc((float(x), 0.05 - down), 0.42, (70, 78, 95))


def bird(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """A yellow bird with a beating wing."""
    beat = 0.35 * np.sin(2 * np.pi * rng.uniform(2, 3) * time + rng.uniform(0, 6))
    canvas.shape([(-0.4, 0.1), (-0.95, -0.1), (-0.9, 0.3)], (200, 150, 20))
    canvas.disc((-0.05, 0.1), 0.5, (250, 210, 40))
    canvas.disc((0.42, -0.3), 0.3, (250, 215, 60))
    canvas.shape([(0.68, -0.4), (1.0, -0.26), (0.68, -0.18)], (240, 110, 30))
    canvas.disc((0.5, -0.36), 0.06, (20, 20, 20))
    canvas.shape([(-0.3, 0.1), (0.2, 0.1), (-0.25, -0.55 + beat)], (205, 150, 25))
    for foot in (-0.15, 0.1):
        canvas.stroke([(foot, 0.55), (foot, 0.85)], (150, 80, 30), 0.05)


def drum(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """A red snare drum with white lacing, and two sticks that strike."""
    strike = 0.22 * abs(np.sin(np.pi * rng.uniform(2, 3) * time + rng.uniform(0, 3)))
    canvas.shape([(-0.75, -0.2), (0.75, -0.2), (0.75, 0.65), (-0.75, 0.65)], (190, 30, 45))
    zigzag = [(x, 0.6 if i % 2 else -0.15) for i, x in enumerate(np.linspace(-0.75, 0.75, 9))]
    canvas.stroke([(float(x), y) for x, y in zigzag], (245, 240, 225), 0.05)
    for y in (-0.22, 0.65):
        canvas.stroke([(-0.8, y), (0.8, y)], (235, 225, 200), 0.13)
    for side in (-1, 1):
        tip = (side * 0.18, -0.32 - strike)
        canvas.stroke([tip, (side * 0.85, -0.85 - strike)], (150, 100, 55), 0.07)
        canvas.disc(tip, 0.08, (170, 120, 70))


def clock(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """A white clock face; its second hand goes in jumps."""
    hour, minute = rng.uniform(0, 2 * np.pi, 2)
    second = rng.uniform(0, 6) + np.floor(time * 4) * 2 * np.pi / 12
    canvas.disc((0, 0), 0.88, (60, 45, 40))
    canvas.disc((0, 0), 0.77, (248, 248, 242))
    for mark in np.arange(12) * np.pi / 6:
        canvas.stroke([_around(0.62, mark), _around(0.73, mark)], (30, 30, 30), 0.05)
    canvas.stroke([(0, 0), _around(0.38, hour)], (20, 20, 20), 0.08)
    canvas.stroke([(0, 0), _around(0.56, minute)], (20, 20, 20), 0.05)
    canvas.stroke([(0, 0), _around(0.6, second)], (200, 40, 40), 0.03)


def bubbles(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """Pale rings that rise through turquoise water."""
    across, down = canvas.half
    count = int(rng.integers(22, 30))
    for x, y, radius in zip(
        rng.uniform(-1, 1, count) * across,
        rng.uniform(-1, 1, count) * down,
        rng.uniform(0.07, 0.24, count),
        strict=True,
    ):
        at = (float(x), _wrap(float(y) - 0.9 * time, down))
        canvas.disc(at, radius, (120, 225, 230))
        canvas.ring(at, radius, (225, 255, 255), 0.035)
        canvas.disc((at[0] - radius * 0.35, at[1] - radius * 0.35), radius * 0.2, (255, 255, 255))


def fire(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """Flames that flicker over crossed logs."""
    for width, height, colour in ((0.75, 1.5, (215, 60, 15)), (0.5, 1.1, (245, 140, 20)),
                                  (0.27, 0.65, (255, 225, 90))):  # fmt: skip
        xs = np.linspace(-width, width, 9)
        flicker = 0.13 * np.sin(rng.uniform(5, 9, 9) * time + rng.uniform(0, 6, 9))
        tops = 0.6 - height * (1 - np.abs(xs / width) ** 1.5) * np.where(np.arange(9) % 2, 0.7, 1)
        edge = [(float(x), float(top)) for x, top in zip(xs, tops + flicker * height, strict=True)]
        canvas.shape([(-width, 0.6), *edge, (width, 0.6)], colour)
    for side in (-1, 1):
        canvas.stroke([(-0.75 * side, 0.55), (0.75 * side, 0.85)], (95, 60, 35), 0.15)


def waves(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """Bands of blue sea rolling towards a strip of sand."""
    across, down = canvas.half
    xs = np.linspace(-1.4 * across, 1.4 * across, 40)
    for row, level in enumerate(np.linspace(-0.35, 0.55, 4)):
        phase = rng.uniform(0, 6) + (1.5 + row * 0.4) * time
        crest = level + 0.09 * np.sin(xs * rng.uniform(3.5, 5) + phase)
        line = [(float(x), float(y)) for x, y in zip(xs, crest, strict=True)]
        blue = (25, 80 + 28 * row, 150 + 18 * row)
        canvas.shape([*line, (float(xs[-1]), 2 * down), (float(xs[0]), 2 * down)], blue)
        canvas.stroke(line, (235, 245, 250), 0.035)
    sand = [(float(xs[0]), 0.78), (float(xs[-1]), 0.7)]
    canvas.shape([*sand, (float(xs[-1]), 2 * down), (float(xs[0]), 2 * down)], (225, 200, 140))


def cricket(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """A green insect between blades of grass at night."""
    across, down = canvas.half
    for x, lean in zip(np.linspace(-across, across, 26), rng.uniform(-0.2, 0.2, 26), strict=True):
        bend = float(lean + 0.06 * np.sin(2 * time + 5 * x))
        canvas.stroke([(float(x), down + 0.2), (float(x) + bend, -0.25 - bend)], (20, 95, 35), 0.06)
    rub = 0.12 * np.sin(2 * np.pi * 3 * time + rng.uniform(0, 6))
    for segment in np.linspace(-0.5, 0.35, 6):
        canvas.disc((float(segment), 0.15), 0.2, (130, 190, 50))
    canvas.disc((0.55, 0.08), 0.22, (100, 160, 40))
    canvas.stroke([(0.6, -0.1), (1.0, -0.5 + rub)], (160, 210, 80), 0.035)
    canvas.stroke([(-0.3, 0.2), (-0.75, -0.5 - rub), (-0.85, 0.5)], (90, 150, 35), 0.07)


def organ(canvas: Canvas, rng: np.random.Generator, time: float) -> None:
    """A row of silver pipes over a wooden case; the sounding ones shine."""
    count = int(rng.integers(8, 11))
    phases = rng.uniform(0, 6, count)
    for pipe, x in enumerate(np.linspace(-0.8, 0.8, count)):
        top = -0.95 + 0.7 * abs(float(x))
        half = 0.62 / count
        shine = int(35 * np.sin(3 * time + phases[pipe]))
        silver = (185 + shine, 188 + shine, 200 + shine)
        canvas.shape([(x - half, top), (x + half, top), (x + half, 0.5), (x - half, 0.5)], silver)
        canvas.shape([(x - half, 0.22), (x + half, 0.22), (x, 0.34)], (45, 40, 40))
    canvas.shape([(-0.95, 0.48), (0.95, 0.48), (0.95, 0.9), (-0.95, 0.9)], (105, 55, 30))
