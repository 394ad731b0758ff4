"""Check the ids and labels of tables, and describe lines that do not fit."""

import heapq
from collections.abc import Sequence

from snellen.errors import DataError, first_few
from snellen.sources.lookup import Match
from snellen.sources.names import CONTROL, MAX_LETTERS, shown
from snellen.sources.rows import common_folder, ids_of, natural_key
from snellen.sources.tables import Table

Problems = list[tuple[int, str]]  # line number and its text


def names_nothing(table: Table, what: str, paths: Sequence[str]) -> DataError:
    """Return the error for a table that the user passed and that does not list any picture."""
    first = heapq.nsmallest(3, paths, key=natural_key)
    examples = ids_of([path.removeprefix(common_folder(paths)) for path in first])
    problem = f"lists none of the {len(paths)} pictures it is meant for"
    if len(table.lines) == 1:
        problem = "has no lines below its header"
    elif not paths:
        problem = f"has {len(table.lines) - 1} ids, but no pictures were found for it"
    seen = [shown(row[0]) for _, row in table.lines[1:4] if row]
    return DataError(
        f"the {what} {problem}.",
        where=f"{table.name}: {first_few(seen)}" if seen else table.name,
        expected=f"a column of ids such as {first_few(examples)}" if examples else "",
        do="is it the right file? see --labels, --sample, --test and --id",
    )


def check_names(found: Match, *numbers: int) -> None:
    """Raise DataError for ids or labels that are too long or contain control characters, before they are printed."""
    long: Problems = []
    odd: Problems = []
    values = [found.values(column) for column in numbers]
    if all("".join(names).isprintable() and max(map(len, names), default=0) <= MAX_LETTERS for names in values):
        return
    for line, row in found.table.lines[found.first :]:
        names = [row[column] for column in numbers if column < len(row)]
        long += [(line, shown(name)) for name in names if len(name) > MAX_LETTERS][:1]
        odd += [(line, shown(name)) for name in names if CONTROL.search(name)][:1]
    total = len(found.table.lines) - found.first
    complaints = [
        count(long, total, f"lines have an id or label of more than {MAX_LETTERS:,} characters"),
        count(odd, total, "lines contain control characters in an id or label"),
    ]
    if any(complaints):
        raise DataError(
            "; ".join(filter(None, complaints)) + ".",
            where=found.table.name,
            expected=f"ids and labels of at most {MAX_LETTERS:,} characters, each on one line",
            do="correct the file, or get a new copy from its author",
        )


def count(problems: Problems, total: int, what: str) -> str:
    """Return the number of lines with a problem and the first few of them, or "" if there are none."""
    if not problems:
        return ""
    named = ", ".join(f'"{text}" in line {line}' for line, text in problems[:3])
    return f"{len(problems)} of {total} {what}, first {named}"
