"""Read pixels from the columns of a CSV (label,pixel0,pixel1,...), or from one column of space-separated numbers.

Each line is an image without a name: its id is its line number from 1. Opening a source parses only the labels;
pixels are parsed in parts when they are decoded.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from snellen.errors import DataError, first_few
from snellen.sources.columns import NAMES, WORDS
from snellen.sources.names import shown
from snellen.sources.roles import column_roles, role_of, words_of
from snellen.sources.source_files import Place, read_whole

MAX_BYTES = 10**9  # of one table
MIN_PIXELS = 16
LINES_AT_ONCE = 2000


@dataclass(frozen=True, eq=False)
class PixelTable:
    """The lines of a CSV that contain images."""

    name: str
    lines: list[bytes]  # without header
    separator: bytes
    before: int  # columns before the pixels
    after: int  # columns after them
    is_text: bool  # whether one column contains all pixels, separated by spaces
    side: int
    channels: int
    labels: list[str] | None
    label_name: str
    scale: float  # factor applied to each value

    @property
    def num(self) -> int:
        """Return the number of images."""
        return len(self.lines)

    def pixels(self) -> Iterator[np.ndarray]:
        """Yield uint8 (H, W, 3). Raises DataError for a line with missing or invalid pixels."""
        count = self.side * self.side * self.channels
        for start in range(0, len(self.lines), LINES_AT_ONCE):
            lines = [self._pixel_part(line) for line in self.lines[start : start + LINES_AT_ONCE]]
            values = _numbers(b"\n".join(lines) if self.is_text else self.separator.join(lines), self.separator, self)
            if len(values) != count * len(lines):
                self._refuse(start, lines, count)
            if self.scale != 1:
                values = np.round(values * self.scale)
            if values.min() < 0 or values.max() > 255:
                row = int(np.argmax((values < 0) | (values > 255))) // count
                raise DataError(
                    f"a pixel on line {start + row + 2} is not between 0 and {255 / self.scale:g}.",
                    where=f"{self.name}, line {start + row + 2}",
                    expected="whole numbers from 0 to 255, or fractions from 0 to 1",
                    do="scale the pixels to one of these ranges",
                )
            images = values.astype(np.uint8).reshape(len(lines), self.side, self.side, self.channels)
            yield from np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))

    def _pixel_part(self, line: bytes) -> bytes:
        if self.before:
            line = line.split(self.separator, self.before)[-1]
        if self.after:
            line = line.rsplit(self.separator, self.after)[0]
        return line.strip(b' "') if self.is_text else line

    def _refuse(self, start: int, lines: list[bytes], count: int) -> None:
        for number, line in enumerate(lines):
            found = len(line.split() if self.is_text else line.split(self.separator))
            if found != count:
                raise DataError(
                    f"line {start + number + 2} has {found} pixels.",
                    where=f"{self.name}, line {start + number + 2}",
                    expected=f"{count}, as in the first line",
                    do="correct or remove the line; was the file downloaded completely?",
                )
        raise DataError("the pixels are not all numbers.", where=self.name, expected="whole numbers from 0 to 255")


def _numbers(text: bytes, separator: bytes, table: PixelTable) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns about text that is not a number
        try:
            return np.fromstring(
                text.decode("ascii"), dtype=np.float32, sep=" " if table.is_text else separator.decode()
            )
        except (DeprecationWarning, ValueError, UnicodeDecodeError):
            return np.empty(0, dtype=np.float32)


def find_pixel_tables(files: dict[str, Place], *, label: str | None = None) -> dict[str, PixelTable] | None:
    """Return the pixel tables of a source by role: "train" or "" (labelled), "valid", "test"; None if there are none.

    label: the name of the label column, if the user passed it.
    """
    found: dict[str, PixelTable] = {}
    for name in files:
        if not name.lower().endswith(".csv"):
            continue
        for part, table in _read(name, files, label):
            role = part or role_of(name.rpartition("/")[2].partition(".")[0])
            role = {"all": "train", "unlabelled": "test"}.get(role, role)
            if table.labels is None and not role:
                role = "test"
            if role in found:
                raise DataError(
                    f"two tables contain {role or 'labelled'} pixels: {found[role].name} and {name}.",
                    where=name,
                    expected="one table each for train, valid and test",
                    do="keep only one of them in the source",
                )
            found[role] = table
    if not found:
        return None
    labelled = [role for role in found if role != "test"]
    if not labelled or any(found[role].labels is None for role in labelled):
        raise DataError(
            f"the pixel tables {first_few(t.name for t in found.values())} contain no labels.",
            expected="a column of labels next to the training pixels",
            do="name it: --label COLUMN",
        )
    return found


def _read(name: str, files: dict[str, Place], label: str | None) -> list[tuple[str, PixelTable]]:
    """Return the table, or one per role if a column contains roles; empty if there are no pixels."""
    data = read_whole(files, [name], MAX_BYTES)[name].removeprefix(b"\xef\xbb\xbf")
    lines = [line for line in data.splitlines() if line.strip()]
    del data
    if len(lines) < 2:
        return []
    separator = max((b",", b";", b"\t"), key=lines[0].count)
    header = [cell.strip(b' "').decode("utf-8", "replace") for cell in lines[0].split(separator)]
    first = [cell.strip(b' "') for cell in lines[1].split(separator)]
    if len(first) != len(header):
        return []
    texts = [c for c, cell in enumerate(first) if len(cell.split()) >= MIN_PIXELS]
    if len(texts) == 1:
        start, stop, is_text, count = texts[0], texts[0] + 1, True, len(first[texts[0]].split())
    else:
        run = _pixel_run(header, first)
        if run is None:
            return []
        start, stop, is_text, count = *run, False, run[1] - run[0]
    side = _side(count, name)
    cells = first[texts[0]].split() if is_text else first[start:stop]
    others = [c for c in range(len(header)) if not start <= c < stop]
    body = lines[1:]
    columns = {c: _column(body, separator, c, len(header)) for c in others}
    split = next(((c, roles) for c in others if (roles := column_roles(columns[c]))), None)
    chosen = _label_column(name, header, [c for c in others if split is None or c != split[0]], columns, label)
    scale = 255.0 if any(b"." in cell for cell in cells) and max(map(float, cells)) <= 1 else 1.0

    def table(numbers: list[int]) -> PixelTable:
        labels = None if chosen is None else [columns[chosen][n] for n in numbers]
        own = body if len(numbers) == len(body) else [body[n] for n in numbers]
        label_name = "" if chosen is None else header[chosen]
        before, after = start, len(header) - stop
        return PixelTable(
            name, own, separator, before, after, is_text, side, count // side**2, labels, label_name, scale
        )

    if split is None:
        return [("", table(list(range(len(body)))))]
    of_line = [split[1].get(value, "train") for value in columns[split[0]]]
    return [(role, table([n for n, own in enumerate(of_line) if own == role])) for role in dict.fromkeys(of_line)]


def _pixel_run(header: list[str], first: list[bytes]) -> tuple[int, int] | None:
    """Return the longest run of numeric columns whose names differ only in digits."""

    def frame(name: str) -> str:
        return "".join(letter for letter in name if not letter.isdigit())

    best, start = (0, 0), 0
    for column in range(1, len(header) + 1):
        if column == len(header) or frame(header[column]) != frame(header[start]):
            if column - start > best[1] - best[0]:
                best = (start, column)
            start = column
    if best[1] - best[0] < MIN_PIXELS:
        return None
    try:
        values = [float(cell) for cell in first[slice(*best)]]
    except ValueError:
        return None
    return best if all(0 <= value <= 255 for value in values) else None


def _side(count: int, name: str) -> int:
    side = math.isqrt(count)
    if side * side == count:
        return side
    if count % 3 == 0 and math.isqrt(count // 3) ** 2 == count // 3:
        raise DataError(
            f"the lines of {name} have {count} pixels: colour images, in an order that cannot be detected.",
            where=name,
            expected="a square of grey pixels, such as 784 for 28x28",
            do="save the images as .npz arrays (N, H, W, 3) or as picture files",
        )
    raise DataError(
        f"the lines of {name} have {count} pixels, which do not form a square.",
        where=name,
        expected="such as 784 for 28x28",
        do="save the images as .npz arrays (N, H, W) or as picture files",
    )


def _column(lines: list[bytes], separator: bytes, column: int, width: int) -> list[str]:
    """Return the values of one column near the start or the end of the lines."""
    if column <= width // 2:
        cells = [line.split(separator, column + 1)[column] for line in lines]
    else:
        back = width - column
        cells = [line.rsplit(separator, back)[-back] for line in lines]
    return [cell.strip(b' "').decode("utf-8", "replace") for cell in cells]


def _label_column(
    name: str, header: list[str], others: list[int], columns: dict[int, list[str]], label: str | None
) -> int | None:
    if label is not None:
        return next((c for c in others if header[c].lower() == label.lower()), None)
    usual = [c for c in others if header[c].lower() in NAMES or words_of(header[c]) & WORDS]
    left = usual or [c for c in others if 1 < len({*columns[c]}) < len(columns[c])]
    if len(left) > 1:
        raise DataError(
            f"{len(left)} columns of {name} could be the labels: {first_few(shown(header[c]) for c in left)}.",
            where=name,
            expected="one column of labels next to the pixels",
            do=f"name it: --label {header[left[0]]}",
        )
    return left[0] if left else None
