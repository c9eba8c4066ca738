"""A picture under construction, in the coordinates of the thing drawn rather than in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Nuisance:
    """What varies between two pictures of the same thing and says nothing about it.

    shift: of the centre, in units of half the short side; scale: of the whole thing; tint: added to
    every colour; shade: brightness of the background at its top and bottom, added; noise: standard
    deviation of the grain, in grey levels.
    """

    shift: Point
    scale: float
    tint: Colour
    shade: tuple[int, int]
    noise: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Nuisance":
        """One random setting."""
        red, green, blue = (int(value) for value in rng.integers(-22, 23, 3))
        top, bottom = (int(value) for value in rng.integers(-25, 26, 2))
        across, down = (float(value) for value in rng.uniform(-0.16, 0.16, 2))
        scale, noise = float(rng.uniform(0.8, 1.12)), float(rng.uniform(2, 9))
        return cls((across, down), scale, (red, green, blue), (top, bottom), noise)


class Canvas:
    """Draws on a background that shades from top to bottom.

    (0, 0) is the middle of the thing, x goes right, y down, and 1 is half the short side of the
    picture, before the shift and scale of `nuisance`.
    """

    def __init__(self, size: tuple[int, int], background: Colour, nuisance: Nuisance) -> None:
        self.size = size
        self._nuisance = nuisance
        self._unit = min(size) / 2 * nuisance.scale
        across, down = nuisance.shift
        self._centre = (size[0] / 2 + across * min(size) / 2, size[1] / 2 + down * min(size) / 2)
        shade = np.linspace(*nuisance.shade, size[1])[:, None, None]  # (H, 1, 1)
        flat = np.asarray(background, dtype=float) + np.asarray(nuisance.tint) + shade
        pixels = np.broadcast_to(flat.clip(0, 255).astype(np.uint8), (size[1], size[0], 3))
        self._image = Image.fromarray(np.ascontiguousarray(pixels))
        self._draw = ImageDraw.Draw(self._image)

    @property
    def half(self) -> Point:
        """Half the width and half the height of the picture, in units of the thing: its reach."""
        return self.size[0] / 2 / self._unit, self.size[1] / 2 / self._unit

    def disc(self, at: Point, radius: float, colour: Colour) -> None:
        """A filled circle."""
        self._draw.ellipse(self._box(at, radius), fill=self._tinted(colour))

    def ring(self, at: Point, radius: float, colour: Colour, width: float = 0.04) -> None:
        """A circle's outline."""
        self._draw.ellipse(
            self._box(at, radius), outline=self._tinted(colour), width=self._px(width)
        )

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon([self._at(point) for point in points], fill=self._tinted(colour))

    def stroke(self, points: Sequence[Point], colour: Colour, width: float = 0.04) -> None:
        """A line through the points."""
        line = [self._at(point) for point in points]
        self._draw.line(line, fill=self._tinted(colour), width=self._px(width), joint="curve")

    def finish(self, rng: np.random.Generator) -> Image.Image:
        """The picture, with grain."""
        pixels = np.asarray(self._image, dtype=np.float32)
        grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32)[..., None]
        noisy = pixels + grain * np.float32(self._nuisance.noise)
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))

    def _at(self, point: Point) -> Point:
        return self._centre[0] + point[0] * self._unit, self._centre[1] + point[1] * self._unit

    def _box(self, at: Point, radius: float) -> tuple[float, float, float, float]:
        (x, y), reach = self._at(at), radius * self._unit
        return x - reach, y - reach, x + reach, y + reach

    def _px(self, width: float) -> int:
        return max(1, round(width * self._unit))

    def _tinted(self, colour: Colour) -> Colour:
        red, green, blue = (
            min(255, max(0, value + tint))
            for value, tint in zip(colour, self._nuisance.tint, strict=True)
        )
        return red, green, blue
