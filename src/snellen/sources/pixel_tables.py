"""Read pixels from the columns of a CSV (label,pixel0,pixel1,...), or from one column of space-separated numbers.

Each line is an image without a name: its id is its line number from 1. Opening a source parses only the labels;
pixels are parsed in parts when they are decoded.
"""

import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from snellen.errors import DataError, first_few
from snellen.sources.columns import NAMES, WORDS, is_number
from snellen.sources.names import shown
from snellen.sources.pixel_columns import PixelColumns, find_pixel_columns
from snellen.sources.roles import column_roles, role_of, words_of
from snellen.sources.source_files import Place, read_whole

log = logging.getLogger("snellen")
MAX_BYTES = 10**9  # of one table
LINES_AT_ONCE = 2000


@dataclass(frozen=True, eq=False)
class PixelTable:
    """The lines of a CSV that contain images."""

    name: str
    lines: list[bytes]  # without header
    separator: bytes
    num_columns: int
    columns: PixelColumns
    labels: list[str] | None
    label_name: str
    scale: float  # factor applied to each value
    first_line: int = 2  # of the file: the line of the first image

    @property
    def num(self) -> int:
        """Return the number of images."""
        return len(self.lines)

    def pixels(self) -> Iterator[np.ndarray]:
        """Yield uint8 (H, W, 3). Raises DataError for a line with missing or invalid pixels."""
        columns, count, scale = self.columns, self.columns.count, self.scale
        for start in range(0, len(self.lines), LINES_AT_ONCE):
            lines = [self._pixel_part(line) for line in self.lines[start : start + LINES_AT_ONCE]]
            values = _numbers((b"\n" if columns.is_text else self.separator).join(lines), self)
            if len(values) != count * len(lines):
                self._refuse(start, lines, count)
            if start == 0 and scale == 1 and values.max() <= 1:
                log.warning("%s has values of at most 1: 1 becomes white", self.name)
                scale = 255.0
            if scale != 1:
                values = np.round(values * scale)
            elif (values != np.floor(values)).any():
                raise DataError(
                    "the pixels are whole numbers in the first line, and fractions in others.",
                    where=self.name,
                    expected="whole numbers from 0 to 255, or fractions from 0 to 1 with a decimal point in every line",
                    do="scale the pixels to one of these ranges",
                )
            if values.min() < 0 or values.max() > 255:
                row = int(np.argmax((values < 0) | (values > 255))) // count
                raise DataError(
                    f"a pixel on line {start + row + self.first_line} is not between 0 and {255 / scale:g}.",
                    where=f"{self.name}, line {start + row + self.first_line}",
                    expected="whole numbers from 0 to 255, or fractions from 0 to 1",
                    do="scale the pixels to one of these ranges",
                )
            images = values.astype(np.uint8)
            if columns.are_planes:
                images = images.reshape(-1, columns.channels, columns.side, columns.side).transpose(0, 2, 3, 1)
            images = images.reshape(-1, columns.side, columns.side, columns.channels)
            yield from np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))

    def _pixel_part(self, line: bytes) -> bytes:
        if self.columns.start:
            line = line.split(self.separator, self.columns.start)[-1]
        if after := self.num_columns - self.columns.stop:
            line = line.rsplit(self.separator, after)[0]
        return line.strip(b' "') if self.columns.is_text else line

    def _refuse(self, start: int, lines: list[bytes], count: int) -> None:
        for number, line in enumerate(lines):
            found = len(line.split() if self.columns.is_text else line.split(self.separator))
            if found != count:
                raise DataError(
                    f"line {start + number + self.first_line} has {found} pixels.",
                    where=f"{self.name}, line {start + number + self.first_line}",
                    expected=f"{count}, as in the first line",
                    do="correct or remove the line; was the file downloaded completely?",
                )
        raise DataError("the pixels are not all numbers.", where=self.name, expected="whole numbers from 0 to 255")


def _numbers(text: bytes, table: PixelTable) -> np.ndarray:
    """Return the numbers in a text, float32; nothing if there is anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns about text that is not a number
        try:
            return np.fromstring(
                text.decode("ascii"), dtype=np.float32, sep=" " if table.columns.is_text else table.separator.decode()
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
    body = lines[1:]
    if has_no_header := all(map(is_number, header)):
        header, body = [str(column + 1) for column in range(len(header))], lines
    named = next((c for c, text in enumerate(header) if label is not None and text.lower() == label.lower()), None)
    if has_no_header and named is None and math.isqrt(len(header) - 1) ** 2 == len(header) - 1:
        raise DataError(
            f"{name} has no header, and {len(header):,} columns: one of labels and {len(header) - 1:,} of pixels.",
            where=name,
            expected="the number of the column of labels",
            do=f"pass --label 1 if it is the first column, or --label {len(header)} if it is the last",
        )
    pixels = find_pixel_columns(name, header, first, named)
    if pixels is None:
        return []
    cells = first[pixels.start].split() if pixels.is_text else first[pixels.start : pixels.stop]
    others = [c for c in range(len(header)) if not pixels.start <= c < pixels.stop]
    columns = {c: _column(body, separator, c, len(header)) for c in others}
    split = next(((c, roles) for c in others if (roles := column_roles(columns[c]))), None)
    chosen = _label_column(name, header, [c for c in others if split is None or c != split[0]], columns, label)
    scale = 255.0 if any(b"." in cell for cell in cells) and max(map(float, cells)) <= 1 else 1.0

    def table(numbers: list[int]) -> PixelTable:
        labels = None if chosen is None else [columns[chosen][n] for n in numbers]
        own = body if len(numbers) == len(body) else [body[n] for n in numbers]
        label_name = "" if chosen is None else header[chosen]
        return PixelTable(
            name, own, separator, len(header), pixels, labels, label_name, scale, 1 if has_no_header else 2
        )

    if split is None:
        return [("", table(list(range(len(body)))))]
    of_line = [split[1].get(value, "train") for value in columns[split[0]]]
    return [(role, table([n for n, own in enumerate(of_line) if own == role])) for role in dict.fromkeys(of_line)]


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
