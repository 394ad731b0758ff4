"""Reads the numbers back out of our SVG figures, by the labels of their axes."""

from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np

SVG = "{http://www.w3.org/2000/svg}"


@dataclass
class Line:
    """A curve, in the units of its axes. marks: the points that carry a marker."""

    colour: str
    dashed: bool
    points: list[tuple[float, float]]
    marks: list[tuple[float, float]]


@dataclass
class Axes:
    texts: list[str] = field(default_factory=list)  # labels, ticks and legend
    lines: list[Line] = field(default_factory=list)  # grid and ticks left out
    bars: list[tuple[float, float, float, float, str]] = field(default_factory=list)  # left, bottom, right, top, colour
    x_range: tuple[float, float] = (0, 0)
    y_range: tuple[float, float] = (0, 0)


def read_figure(svg: str) -> list[Axes]:
    root = ElementTree.fromstring(svg)
    return [_axes(group) for group in root.iter(f"{SVG}g") if "-axes_" in group.get("id", "")]


def _axes(group) -> Axes:
    x_axis, y_axis = (part for part in group if "matplotlib.axis_" in part.get("id", ""))
    scale = [_scale(x_axis, "x"), _scale(y_axis, "y")]

    def read(points):
        (x_slope, x_start), (y_slope, y_start) = scale
        return [(round(x * x_slope + x_start, 4), round(y * y_slope + y_start, 4)) for x, y in points]

    axes = Axes(texts=[text.text for text in group.iter(f"{SVG}text")])
    for part in group:
        name, paths = part.get("id", ""), part.findall(f"{SVG}path")
        marks = [(float(use.get("x")), float(use.get("y"))) for use in part.iter(f"{SVG}use")]
        if "patch" in name and not axes.x_range[1]:  # the first is the background
            corners = read(_points(paths[0].get("d")))
            axes.x_range = (min(x for x, _ in corners), max(x for x, _ in corners))
            axes.y_range = (min(y for _, y in corners), max(y for _, y in corners))
        elif "line2d" in name:
            style = " ".join(path.get("style") for path in (paths or part.iter(f"{SVG}path")))
            points = _points(paths[0].get("d")) if paths else []
            axes.lines.append(Line(_colour(style), "dasharray" in style, read(points), read(marks)))
        elif "patch" in name and "clip-path" in paths[0].attrib:
            corners = read(_points(paths[0].get("d")))
            xs, ys = [x for x, _ in corners], [y for _, y in corners]
            axes.bars.append((min(xs), min(ys), max(xs), max(ys), _colour(paths[0].get("style"))))
    return axes


def _scale(axis, letter: str) -> tuple[float, float]:
    """Fit slope and start of the line from pixels to the labels of an axis."""
    found = []
    for tick in axis:
        uses, texts = list(tick.iter(f"{SVG}use")), list(tick.iter(f"{SVG}text"))
        if "tick" in tick.get("id", "") and uses and texts:
            found.append((float(uses[0].get(letter)), texts[0].text.replace("\N{MINUS SIGN}", "-")))
    try:
        values = [float(text) for _, text in found]
    except ValueError:  # names: counted from 0
        values = list(range(len(found)))
    if len(found) < 2:  # an axis that the one below shares, or a single tick
        return (1.0, 0.0)
    slope, start = np.polyfit([pixel for pixel, _ in found], values, 1)
    return float(slope), float(start)


def _points(path: str) -> list[tuple[float, float]]:
    words = path.replace("z", "").split()
    numbers = [float(word) for word in words if word not in "MLCQ"]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _colour(style: str) -> str:
    """The first colour of a style that is not the page's own."""
    for part in style.split(";"):
        name, _, value = part.strip().partition(": ")
        if name in ("fill", "stroke") and value not in ("none", "currentColor"):
            return value.removeprefix("var(--accent, ").removesuffix(")").upper()
    return ""
