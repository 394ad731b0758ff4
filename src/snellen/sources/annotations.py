"""Text files that list pictures with their labels: val_annotations.txt, "images/1.jpg 3"."""

import re

from snellen.errors import DataError
from snellen.sources.tables import Table, read_table


def read_annotations(name: str, data: bytes) -> Table | None:
    """Return a text file as a table, or None if its lines do not all have the same number of values (at least two).

    Values are separated by tabs, commas or semicolons, otherwise by spaces.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    first = text.lstrip().partition("\n")[0]
    if any(separator in first for separator in "\t,;"):
        try:
            table = read_table(name, data)
        except DataError:
            return None
        lines = table.lines
    else:
        split = [(number, re.split(r"\s+", line.strip())) for number, line in enumerate(text.splitlines(), start=1)]
        lines = [(number, values) for number, values in split if values != [""]]
    widths = {len(values) for _, values in lines}
    return Table(name, lines, data) if len(widths) == 1 and widths.pop() > 1 else None
