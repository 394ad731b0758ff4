"""Read CSV files of any dialect: byte order marks, CRLF, quotes, semicolons; errors name the line."""

import contextlib
import csv
import gc
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from snellen.errors import DataError
from snellen.sources.names import shown

MAX_BYTES = 256 * 10**6  # of a CSV file
FORMULA = re.compile(r"[=@]|[+-](?![\d.]+$)")  # the start of a cell that a spreadsheet computes; numbers do not count


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause garbage collection while many small objects are created, which makes reading three times as fast."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True, eq=False)
class Table:
    """The non-empty lines of a CSV file. Only the ids can show whether the first line is a header."""

    name: str  # for messages
    lines: list[tuple[int, list[str]]]  # line number in the file, and values
    data: bytes  # the file itself
    columns: dict[int, list[str]] = field(default_factory=dict, repr=False)  # those requested so far

    @property
    def width(self) -> int:
        """Return the number of columns in the first line."""
        return len(self.lines[0][1]) if self.lines else 0

    def column(self, number: int) -> list[str]:
        """Return the values of one column, "" if a line is too short."""
        if number not in self.columns:
            self.columns[number] = [row[number] if number < len(row) else "" for _, row in self.lines]
        return self.columns[number]

    def column_name(self, number: int) -> str:
        """Return the name of a column in the first line."""
        return self.lines[0][1][number]

    def find_column(self, name: str) -> int | None:
        """Return the index of a column by name, ignoring case, or by number from 1; None if there is none."""
        header = self.lines[0][1] if self.lines else []
        for same in (str, str.lower):
            if same(name) in (names := list(map(same, header))):
                return names.index(same(name))
        return int(name) - 1 if name.isdecimal() and 0 < int(name) <= len(header) else None

    def check_width(self) -> None:
        """Raise DataError for lines with more values than the first: an unquoted comma would split a label."""
        wide = [(number, row) for number, row in self.lines if len(row) > self.width and any(row[self.width :])]
        if wide:
            number, row = wide[0]
            raise DataError(
                f"{len(wide)} of {len(self.lines)} lines have more values than the first line, first "
                f'"{shown(",".join(row))[:60]}".',
                where=f"{self.name}, line {number}",
                expected=f"{self.width} values in each line",
                do='put values that contain the separator in quotes: 1,"bear, brown"',
            )


def read_table(name: str, data: bytes, *, strip: bool = True) -> Table:
    """Parse a CSV file, separated by commas, semicolons or tabs. Raises DataError, with the line if it is known.

    strip: remove spaces around values; a submission must keep the spelling of its sample, including spaces.
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
    with collector_paused():
        try:
            rows = [(reader.line_num, row) for row in reader if any(row) and any(map(str.strip, row))]
        except csv.Error as problem:
            raise unreadable(f"cannot be read: {problem}", reader.line_num) from None
        if not rows:
            raise unreadable("is empty")
        lines = [(line, [value.strip() for value in row]) for line, row in rows] if strip else rows
        return Table(name, lines, data)
