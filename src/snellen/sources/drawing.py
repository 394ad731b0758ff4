"""Draw shapes in random positions, sizes, rotations and colours: the same pixels on every machine.

Pixels are computed only with + - * / and square roots, whose rounding IEEE 754 defines; the last bits of sines, matrix
products and long sums depend on the library and the processor.
"""

import math

import numpy as np

SIDE = 32  # pixels
ROOT2, ROOT3 = math.sqrt(2), math.sqrt(3)
COS36, SIN36 = 0.8090169943749475, 0.5877852522924731
LUMA = np.array([0.299, 0.587, 0.114])  # how bright red, green and blue look

# Sampling points: two per pixel in each direction, in pixels from the top left corner.
FINE = (np.arange(2 * SIDE) + 0.5) / 2
PIXEL = np.arange(SIDE) + 0.5


class Dice:
    """Random numbers from a key of three integers, the same on every machine and with every numpy version.

    numpy guarantees that the raw bits of PCG64 never change, but not the numbers that its Generator derives from them.
    """

    def __init__(self, purpose: int, split: int, number: int):
        self.bits = np.random.PCG64((purpose, split, number))

    def shares(self, *shape: int) -> np.ndarray:
        """Return float64 of this shape, in [0, 1)."""
        return (self.bits.random_raw(shape) >> np.uint64(11)) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * ((self.bits.random_raw() >> 11) * 2.0**-53)

    def direction(self) -> tuple[float, float]:
        """Return a point on the unit circle."""
        while True:  # a point in the square, kept if it lies in the disc: avoids sines
            x, y = self.between(-1, 1), self.between(-1, 1)
            if 0.01 < (squared := x * x + y * y) < 1:
                return x / math.sqrt(squared), y / math.sqrt(squared)


# Shapes: the signed distance from the outline, negative inside, of points in the shape's own coordinates.
# x runs right, y up; the outline stays within about 1 of the centre. Distances must be right only near the outline.


def _arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across = np.abs(x)
    head = np.maximum((across + y - 1) / ROOT2, 0.1 - y)
    shaft = np.maximum(across - 0.25, np.abs(y + 0.4) - 0.55)
    return np.minimum(head, shaft)


def _bars(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across = np.abs(x)
    return np.maximum(np.minimum(across, np.abs(across - 0.65)) - 0.19, np.abs(y) - 0.8)


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y) - 0.9


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    bite = np.sqrt((x - 0.5) ** 2 + y * y) - 0.75
    return np.maximum(np.sqrt(x * x + y * y) - 1, -bite)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - 0.95, np.minimum(x, y) - 0.28)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return two discs side by side, and below them the wedge between their outer tangents."""
    x, y = np.abs(x) - 0.5, y - 0.5
    disc = np.sqrt(x * x + y * y) - 0.5
    wedge = np.maximum(np.maximum(0.8 * x - 0.6 * y - 0.5, 0.6 * x + 0.8 * y), y)
    return np.minimum(disc, wedge)


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.sqrt(x * x + y * y) - 0.72) - 0.23


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.75


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return five points. Two reflections fold the plane into one tenth, where the outline is a straight line."""
    x = np.abs(x)
    for _ in range(2):
        beyond = 2 * np.maximum(COS36 * x - SIN36 * y, 0)
        x, y = np.abs(x - beyond * COS36), y + beyond * SIN36
    tip, notch = 1.05, 0.48  # distances from the centre
    right, up = tip - notch * COS36, notch * SIN36  # across the line from the tip to the notch
    return (right * x + up * (y - tip)) / math.sqrt(right * right + up * up)


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum((ROOT3 * np.abs(x) + y) / 2, -y) - 0.5


OUTLINES = {
    "arrow": _arrow,
    "bars": _bars,
    "circle": _circle,
    "crescent": _crescent,
    "cross": _cross,
    "heart": _heart,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}


def shape(
    name: str, dice: Dice, *, sizes: tuple[float, float] = (7.5, 12), place: tuple[int, int, int] = (0, 0, SIDE)
) -> np.ndarray:
    """Return the coverage of each pixel by a randomly placed, scaled, rotated and stretched shape, float64 (32, 32).

    sizes: smallest and largest radius. place: left, top and side of the square that contains the shape, in pixels.
    """
    radius, (left, top, side) = dice.between(*sizes), place
    middle_x, middle_y = (start + dice.between(radius, side - radius) for start in (left, top))
    cosine, sine = dice.direction()
    stretch, slant = dice.between(0.9, 1.11), dice.between(-0.1, 0.1)
    right, down = FINE[None, :] - middle_x, FINE[:, None] - middle_y
    x = (cosine * right + sine * down) * (stretch / radius)
    y = (cosine * down - sine * right) / (stretch * radius)
    covered = (0.5 - 2 * radius * OUTLINES[name](x + slant * y, y)).clip(0, 1)  # 2: fine samples per pixel
    return (covered[::2, ::2] + covered[1::2, ::2] + covered[::2, 1::2] + covered[1::2, 1::2]) / 4


def speck(dice: Dice) -> np.ndarray:
    """Return the coverage of each pixel by a dot or a short line, float64 (32, 32)."""
    x, y, radius = dice.between(0, SIDE), dice.between(0, SIDE), dice.between(0.4, 1.2)
    cosine, sine = dice.direction()
    half = max(0.0, dice.between(-6, 6))  # length; half of them are dots, not lines
    right, down = PIXEL[None, :] - x, PIXEL[:, None] - y
    along = cosine * right + sine * down
    beyond, aside = np.maximum(np.abs(along) - half, 0), cosine * down - sine * right
    return (0.5 + radius - np.sqrt(beyond * beyond + aside * aside)).clip(0, 1)


def two_colours(dice: Dice, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two colours of random hues, float64 (3,), whose brightness differs by `gap`; either may be the lighter."""
    darker = dice.between(0.08, 0.92 - gap)
    brightness = [darker, darker + gap]
    if dice.between(0, 1) < 0.5:
        brightness.reverse()
    colours = []
    for level in brightness:
        hue = dice.shares(3)
        hue = hue - (hue[0] * LUMA[0] + hue[1] * LUMA[1] + hue[2] * LUMA[2])  # adds colour but no brightness
        colours.append(level + 0.6 * hue)
    return colours[0], colours[1]


def texture(dice: Dice) -> np.ndarray:
    """Return soft clouds, coarse or fine, around 0, float64 (32, 32, 3)."""
    cells = int(dice.between(1, 6))
    place = PIXEL * (cells / SIDE)
    first = place.astype(int)
    share = place - first
    knots = (dice.shares(cells + 1, cells + 1, 3) - 0.5) * dice.between(0, 0.35)
    rows = knots[first] + share[:, None, None] * (knots[first + 1] - knots[first])
    return rows[:, first] + share[None, :, None] * (rows[:, first + 1] - rows[:, first])


def paint(image: np.ndarray, covered: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return image + covered[:, :, None] * (colour - image)


def blur(image: np.ndarray, amount: float) -> np.ndarray:
    """Mix each pixel with its neighbours; amount: from 0 (no blur) to 1 (weights 1 2 1 in both directions)."""
    side = amount / 4
    for axis in (0, 1):
        wide = np.concatenate([image.take([0], axis), image, image.take([-1], axis)], axis)
        before, after = (wide.take(range(start, start + SIDE), axis) for start in (0, 2))
        image = image + side * (before - image + after - image)
    return image
