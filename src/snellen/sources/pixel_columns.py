"""Find the columns of a CSV that contain pixels, and their order: grey, or colours by the names of the columns."""

import math
from dataclasses import dataclass

from snellen.errors import DataError, first_few
from snellen.sources.roles import words_of

MIN_PIXELS = 16
# Column names of the colours: r0, red_0, pixel0_R.
COLOURS = ({"r", "red"}, {"g", "green"}, {"b", "blue"})


@dataclass(frozen=True)
class PixelColumns:
    """The pixels of a line: columns `start` to `stop`, as images (side, side, channels)."""

    start: int
    stop: int
    side: int
    channels: int = 1
    are_planes: bool = False  # all red values, then all green and all blue ones; otherwise pixel by pixel
    is_text: bool = False  # one column contains all pixels, separated by spaces

    @property
    def count(self) -> int:
        """Return the number of values of one image."""
        return self.side * self.side * self.channels


def find_pixel_columns(
    name: str, header: list[str], first: list[bytes], label: int | None = None
) -> PixelColumns | None:
    """Return the columns with pixels, or None if there are none.

    first: the first line of values. label: the column of labels, if the user named it.
    Raises DataError if they do not form a square, or if the order of colours is unknown.
    """
    texts = [column for column, cell in enumerate(first) if len(cell.split()) >= MIN_PIXELS]
    if len(texts) == 1:
        side = _side(len(first[texts[0]].split()), name)
        return PixelColumns(texts[0], texts[0] + 1, side, is_text=True)
    frames: dict[str, list[int]] = {}
    for column, text in enumerate(header):
        if column != label:
            frames.setdefault("".join(letter for letter in text if not letter.isdigit()), []).append(column)
    groups = {frame: columns for frame, columns in frames.items() if len(columns) >= MIN_PIXELS}
    if not groups or not all(_are_pixels(first, columns) for columns in groups.values()):
        return None
    columns = sorted(column for group in groups.values() for column in group)
    start, stop = columns[0], columns[-1] + 1
    if stop - start != len(columns):
        raise _unknown_columns(name, "other columns are between the pixels")
    if len(groups) == 1:
        return PixelColumns(start, stop, _side(len(columns), name))
    by_colour = [groups[frame] for colour in COLOURS for frame in groups if words_of(frame) & colour]
    if len(groups) != 3 or len(by_colour) != 3 or len({*map(len, by_colour)}) > 1:
        raise _unknown_columns(name, f"their names start with {first_few(groups)}")
    num = len(by_colour[0])
    if [*by_colour[0], *by_colour[1], *by_colour[2]] == columns:
        return PixelColumns(start, stop, _side(num, name), channels=3, are_planes=True)
    if all(group == columns[colour::3] for colour, group in enumerate(by_colour)):
        return PixelColumns(start, stop, _side(num, name), channels=3)
    raise _unknown_columns(name, "red, green and blue are in an unusual order")


def _are_pixels(first: list[bytes], columns: list[int]) -> bool:
    try:
        return all(0 <= float(first[column]) <= 255 for column in columns)
    except ValueError:
        return False


def _side(count: int, name: str) -> int:
    side = math.isqrt(count)
    if side * side == count:
        return side
    if count % 3 == 0 and math.isqrt(count // 3) ** 2 == count // 3:
        raise DataError(
            f"each line of {name} has {count} pixel values. This looks like colour images, but the values could be "
            "ordered colour by colour (as in CIFAR) or pixel by pixel.",
            where=name,
            expected="a square of grey pixels, such as 784 for 28x28, or columns whose names give the colour",
            do="rename the columns to r0, r1, ..., g0, ..., b0, ... (colour by colour) or r0, g0, b0, r1, ... (pixel "
            "by pixel), or save the images as .npz arrays (N, H, W, 3)",
        )
    raise DataError(
        f"each line of {name} has {count} pixel values, which do not form a square.",
        where=name,
        expected="a square number of pixels, such as 784 for 28x28",
        do="save the images as .npz arrays (N, H, W) or as picture files",
    )


def _unknown_columns(name: str, why: str) -> DataError:
    return DataError(
        f"the order of the pixel columns of {name} is unknown: {why}.",
        where=name,
        expected="pixel0, pixel1, ... for grey images; r0, r1, ..., g0, ..., b0, ... or r0, g0, b0, r1, ... for colour",
        do="rename the columns, or save the images as .npz arrays (N, H, W, 3)",
    )
