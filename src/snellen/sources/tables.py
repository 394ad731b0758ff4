"""CSV files of strangers: byte order marks, CRLF, quotes, semicolons, and a clear word about what cannot be read."""

import csv
import io
import re
from dataclasses import dataclass

from snellen.errors import DataError

MAX_BYTES = 256 * 2**20  # of a CSV file
FORMULA = re.compile(r"[=@]|[+-](?![\d.]+$)")  # how a cell begins that a spreadsheet computes; a number is none
LABEL_NAMES = ("label", "labels", "class", "category", "target", "breed", "species", "y")


@dataclass(frozen=True)
class Table:
    """The lines of a CSV file that hold anything. The first may be a header: who knows the ids can tell."""

    name: str  # for messages
    lines: list[tuple[int, list[str]]]  # line number in the file, and its values
    data: bytes  # the file itself

    @property
    def width(self) -> int:
        """Columns, by the first line."""
        return len(self.lines[0][1]) if self.lines else 0

    def column(self, number: int) -> list[str]:
        """The values of one column, "" where a line is too short."""
        return [row[number] if number < len(row) else "" for _, row in self.lines]

    def column_name(self, number: int) -> str:
        """What the first line calls the column."""
        return self.lines[0][1][number]


def read_table(name: str, data: bytes, *, strip: bool = True) -> Table:
    """Parse a CSV file, separated by commas, semicolons or tabs. Raises DataError that names the line if it can.

    strip: remove the spaces around values; a submission needs the spelling of its sample, spaces included.
    """

    def unreadable(why: str, line: int | None = None) -> DataError:
        return DataError(
            f"{name.rpartition('/')[2]} {why}.",
            where=f"{name}, line {line}" if line else name,
            expected="a CSV file in UTF-8, such as: id,label",
            do="save it again as CSV (UTF-8)",
        )

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise unreadable("is not UTF-8", data.count(b"\n", 0, problem.start) + 1) from None
    if "\0" in text:
        raise unreadable("contains NUL bytes", text.count("\n", 0, text.index("\0")) + 1)
    first_line = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as problem:
        raise unreadable(f"cannot be read: {problem}", reader.line_num) from None
    if not rows:
        raise unreadable("is empty")
    lines = [(line, [value.strip() for value in row]) for line, row in rows] if strip else rows
    return Table(name, lines, data)


def label_column(table: Table, id_column: int) -> int | None:
    """The column that holds labels: by its name, or else the leftmost with few distinct values. None: there is none."""
    others = [column for column in range(table.width) if column != id_column]
    if len(others) <= 1:
        return others[0] if others else None
    names = {column: table.column_name(column).lower() for column in others}
    for wanted in LABEL_NAMES:
        for column in others:
            if names[column] == wanted:
                return column

    def is_grouped(column: int) -> bool:
        return 2 <= len({*table.column(column)[1:]}) <= (len(table.lines) + 1) // 2

    return next(filter(is_grouped, others), others[0])
