"""Images that stand out by simple measures: blank, grey among coloured ones, very dark, very pale, very busy."""

from dataclasses import dataclass

import numpy as np

from snellen.images.duplicates import piece_of
from snellen.system.progress import Progress

BLANK = 3.0  # grey levels, standard deviation over an image; below that, it is blank
GREY = 1.0  # levels between the strongest and the weakest colour, mean over an image; below that, it is grey
RARE = 0.05  # maximum share of grey images that counts as odd
FAR = 3.0  # interquartile ranges beyond the quartiles


@dataclass(frozen=True)
class Odd:
    """One image that stands out."""

    index: int  # position
    kind: str
    why: str


def find(pixels: np.ndarray, *, on_progress: Progress | None = None) -> tuple[Odd, ...]:
    """Find images that stand out, kind by kind, the most extreme first; each image appears once, for its first reason.

    pixels: uint8 (N, H, W, 3), memory-mapped or not.
    Brightness, contrast, colour and detail stand out if they lie more than three interquartile ranges outside the
    quartiles of all images: Tukey, "Exploratory Data Analysis" (1977), calls that "far out".
    """
    brightness, contrast, colour, detail = _measures(pixels, on_progress)
    found: dict[int, Odd] = {}

    def add(kind: str, index: np.ndarray, why: str, values: np.ndarray) -> None:
        for i in index.tolist():
            found.setdefault(i, Odd(i, kind, why.format(values[i])))

    blank = np.flatnonzero(contrast < BLANK)
    add("blank", blank[np.argsort(contrast[blank], kind="stable")], "contrast {:.1f} of 127 levels", contrast)
    grey = np.flatnonzero((colour < GREY) & (contrast >= BLANK))
    if len(grey) <= RARE * len(pixels):
        add("without colour", grey, "most others have colour", colour)
    for values, low, high, what in (
        (brightness, "very dark", "very bright", "mean brightness {:.0f} of 255"),
        (contrast, "very pale", "very strong contrast", "contrast {:.1f} of 127 levels"),
        (colour, "almost grey", "very colourful", "{:.0f} levels between colours"),
        (detail, "very smooth", "very busy", "{:.1f} levels from pixel to pixel"),
    ):
        first, third = np.percentile(values, [25, 75])
        reach = FAR * (third - first)
        for kind, index, sign in (
            (low, np.flatnonzero(values < first - reach), 1),
            (high, np.flatnonzero(values > third + reach), -1),
        ):
            usual = f"{what}; half of the images: {first:.0f} to {third:.0f}"
            add(kind, index[np.argsort(sign * values[index], kind="stable")], usual, values)
    return tuple(found.values())


def _measures(pixels: np.ndarray, on_progress: Progress | None) -> np.ndarray:
    """Return float32 (4, N), in levels: mean, standard deviation, mean colour range, mean step to the next pixel."""
    found = np.empty((4, len(pixels)), dtype=np.float32)
    at_once = piece_of(pixels)
    for start in range(0, len(pixels), at_once):
        part = slice(start, start + at_once)
        red, green, blue = (pixels[part, ..., channel] for channel in range(3))
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        grey = (red.astype(np.float32) + green + blue) / 3
        across, down = np.abs(np.diff(grey, axis=2)), np.abs(np.diff(grey, axis=1))
        found[0, part], found[1, part] = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
        found[2, part] = spread.mean(axis=(1, 2))
        found[3, part] = (across.mean(axis=(1, 2)) + down.mean(axis=(1, 2))) / 2
        if on_progress:
            on_progress("measure", min(start + at_once, len(pixels)), len(pixels))
    return found
