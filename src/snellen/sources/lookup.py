"""Match the ids in a table with pictures."""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from snellen.errors import DataError, first_few
from snellen.sources.decode import is_picture
from snellen.sources.names import shown
from snellen.sources.rows import without_suffix
from snellen.sources.tables import Table

MAX_COLUMNS = 100  # searched for ids
LOOKED_AT = 200  # lines that decide which column holds ids


class Lookup:
    """Pictures by id: an id may be a file name or a path, with or without its extension."""

    def __init__(self, paths: Iterable[str]):
        self.by_stem: dict[str, list[str]] = {}
        for path in paths:
            name = path[path.rfind("/") + 1 :]
            stem = name[: name.rfind(".")] if is_picture(name) else name
            self.by_stem.setdefault(stem if stem.isascii() else _same_form(stem), []).append(path)

    def find(self, id: str) -> list[str]:
        """Return the paths that match `id`: none, one, or several if it is ambiguous."""
        if "/" not in id and "\\" not in id and id.isascii():  # the usual case, made fast
            if "." not in id:
                return self.by_stem.get(id, [])
            found = self.by_stem.get(id[: id.rfind(".")], [])
            if len(found) == 1 and (path := found[0]).endswith(id) and path[-len(id) - 1 : -len(id)] in ("", "/"):
                return found
        id = _same_form(id.replace("\\", "/").removeprefix("./"))
        stem = without_suffix(id)
        found = self._ending_with(id, stem) if stem != id else []
        return found or self._ending_with("", id)  # an id may look like a file name: "1.png" for 1.png.jpg

    def _ending_with(self, id: str, stem: str) -> list[str]:
        found = self.by_stem.get(stem.rpartition("/")[2], [])
        if id and found:
            suffix = id[len(stem) :].lower()
            found = [path for path in found if _same_form(path).lower().endswith(suffix)]
        if "/" in stem and found:
            ending = [path for path in found if _is_end(stem, _same_form(without_suffix(path)))]
            # An absolute path on another machine: /kaggle/input/birds/train/1.png is train/1.png.
            in_folders = [path for path in found if "/" in path]
            found = ending or [path for path in in_folders if _is_end(_same_form(without_suffix(path)), stem)]
        return found


def _same_form(text: str) -> str:
    # macOS writes "é" into archives as two characters, spreadsheets as one.
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _is_end(end: str, path: str) -> bool:
    return path == end or path.endswith("/" + end)


@dataclass(frozen=True, eq=False)
class Match:
    """A match between one column of a table and some pictures."""

    table: Table
    column: int
    first: int  # index of the first line of data
    where: list[list[str]]  # for each line from `first`: the pictures that match its id
    score: float  # overlap of the two sets, ids and pictures
    rivals: frozenset[int] = frozenset()  # other columns that match the same pictures

    @cached_property
    def ids(self) -> list[str]:
        """Return the ids in the order of the table."""
        return self.table.column(self.column)[self.first :]

    @cached_property
    def named(self) -> set[str]:
        """Return the pictures that the table lists."""
        return {path for paths in self.where for path in paths}

    def values(self, column: int) -> list[str]:
        """Return the values of another column, line by line."""
        return self.table.column(column)[self.first :]

    def header(self, column: int) -> str:
        """Return the name of a column, or "" if the table has no header."""
        return self.table.column_name(column) if self.first and column < self.table.width else ""

    def shown(self, column: int) -> str:
        """Return the name of a column for messages, or its number."""
        return f'"{shown(self.table.column_name(column))}"' if self.first else str(column + 1)


def match_ids(table: Table, pictures: Lookup, num_pictures: int, *, id: str | None = None) -> Match | None:
    """Return the column that matches the most pictures, or None if no column matches any.

    id: the name or number of the column, if the user passed it. Columns of file names come first, row numbers last.
    Raises DataError if two columns are equally good but match different pictures.
    """
    lines = table.lines[:LOOKED_AT]
    if id is not None:
        if (wanted := table.find_column(id)) is None:
            return None
        chosen, rivals = wanted, frozenset[int]()
    else:
        hits = {}
        for column in range(min(table.width, MAX_COLUMNS)):
            distinct = {row[column] for _, row in lines if len(row) > column and row[column]}
            if count := sum(bool(pictures.find(value)) for value in distinct):
                hits[column] = count
        if not hits:
            return None
        most = max(hits.values())
        near = [column for column in hits if hits[column] > most / 2]

        def fitness(column: int) -> tuple[bool, bool, int]:
            values = [row[column] for _, row in lines[1:] if len(row) > column]
            is_file = sum(map(is_picture, values)) > len(values) / 2
            return is_file, not are_row_numbers(table, column), hits[column]

        near.sort(key=lambda column: (*map(int, fitness(column)), -column), reverse=True)
        chosen = near[0]
        unlike = {rival: odd for rival in near[1:] if (odd := _disagreement(table, pictures, chosen, rival))}
        rivals = frozenset(near[1:]) - unlike.keys()
        for rival, odd in unlike.items():
            if fitness(rival) == fitness(chosen):
                names = [shown(table.column_name(column)) for column in (chosen, rival)]
                raise DataError(
                    f"two columns of {table.name} could be the ids: {first_few(names)}.",
                    where=f"{table.name}, line {odd}",
                    expected="one column of ids",
                    do=f"pass --id {names[0]} or --id {names[1]}",
                )
    values = table.column(chosen)
    first = 0 if pictures.find(values[0]) else 1
    where = [pictures.find(value) if value else [] for value in values[first:]]
    found = {path for paths in where for path in paths}
    if not found:
        return None
    return Match(table, chosen, first, where, len(found) / (num_pictures + len(where) - len(found)), rivals)


def id_column(table: Table, is_id: Callable[[str], object]) -> int:
    """Return the first column of a sample submission that contains a different id on each line; 0 if there is none."""
    for column in range(min(table.width, MAX_COLUMNS)):
        values = table.column(column)[1:]
        if len({*values}) == len(values) > 0 and all(is_id(value.strip()) for value in values):
            return column
    return 0


def are_row_numbers(table: Table, column: int) -> bool:
    """Return whether a column is an unnamed index from 0 or 1, as pandas writes it."""
    name = table.column_name(column).lower()
    values = [row[column] for _, row in table.lines[1:LOOKED_AT] if len(row) > column]
    counts = any(values == [str(n) for n in range(start, start + len(values))] for start in (0, 1))
    return counts and (not name or name.startswith("unnamed") or name in ("index", "row", "#"))


def _disagreement(table: Table, pictures: Lookup, a: int, b: int) -> int | None:
    """Return the first line in which two columns match different pictures."""
    for line, row in table.lines[1:LOOKED_AT]:
        if len(row) > max(a, b):
            one, other = pictures.find(row[a]), pictures.find(row[b])
            if one and other and not {*one} & {*other}:
                return line
    return None
