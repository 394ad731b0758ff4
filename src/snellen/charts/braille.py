"""Curves in the characters of a terminal: each braille character is 2 by 4 dots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.text import Text

BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of the dot at [y][x], added to U+2800
MARGIN = 7  # characters left of the curves, for the scale


@dataclass(frozen=True)
class Curve:
    """A line through points."""

    name: str
    colour: str  # as rich names it
    dashed: bool
    points: Sequence[tuple[int, float]]  # (epoch from 1, share from 0 to 1)


def draw_curves(curves: Sequence[Curve], title: str, *, right: int, width: int, height: int) -> list[Text]:
    """Shares by epoch as lines of text, with a scale in % at the left and a legend below.

    right: the epoch at the right edge. width: characters in all; height: lines of the curves alone.
    """
    width -= MARGIN
    values = [value for curve in curves for _, value in curve.points]
    low = math.floor(10 * min(values)) / 10
    high = max(math.ceil(10 * max(values)) / 10, low + 0.1)
    colours: dict[tuple[int, int], str] = {}
    for curve in curves:
        points = [((epoch - 1) / (right - 1), (value - low) / (high - low)) for epoch, value in curve.points]
        colours |= dict.fromkeys(line_dots(points, width, height, dashed=curve.dashed), curve.colour)
    scale = {0: f"{100 * high:4.0f}% ┤", height - 1: f"{100 * low:4.0f}% ┤"}
    lines = [Text.assemble(scale.get(y, "      │"), *_characters(colours, width, y)) for y in range(height)]
    legend = Text.assemble(
        title, *((f"  {'╌╌' if curve.dashed else '──'} {curve.name}", curve.colour) for curve in curves)
    )
    space = width - len("1") - len(legend) - len(str(right))
    return [
        Text(),
        *lines,
        Text.assemble(" " * MARGIN, "1", " " * (space // 2), legend, " " * (space - space // 2), str(right)),
        Text(),
    ]


def line_dots(
    points: Sequence[tuple[float, float]], width: int, height: int, *, dashed: bool = False
) -> list[tuple[int, int]]:
    """The dots (x, y) of a line through points, y downwards.

    points: x to the right and y upwards, from 0 to 1. width, height: characters.
    """
    right, bottom = 2 * width - 1, 4 * height - 1
    dots = []
    for (x0, y0), (x1, y1) in pairwise((right * x, bottom * (1 - y)) for x, y in points):
        steps = max(1, math.ceil(x1 - x0), math.ceil(abs(y1 - y0)))
        for i in range(steps + 1):
            x, y = round(x0 + (x1 - x0) * i / steps), round(y0 + (y1 - y0) * i / steps)
            if not dashed or x % 6 < 3:
                dots.append((x, y))
    return dots


def _characters(colours: dict[tuple[int, int], str], width: int, line: int) -> list[tuple[str, str]]:
    """One line of the dots' characters, each with its colour."""
    characters = []
    for column in range(width):
        bits, colour = 0, ""
        for y in range(4):
            for x in range(2):
                dot = (2 * column + x, 4 * line + y)
                if dot in colours:
                    bits |= BITS[y][x]
                    colour = colours[dot]
        characters.append((chr(0x2800 + bits) if bits else " ", colour))
    return characters
