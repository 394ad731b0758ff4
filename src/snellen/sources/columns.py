"""Find the column of labels from evidence: the sample, the test table, column names, and elimination."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from snellen.errors import DataError, did_you_mean, first_few
from snellen.sources.lookup import MAX_COLUMNS, Match, are_row_numbers
from snellen.sources.names import shown
from snellen.sources.roles import column_roles, words_of
from snellen.sources.tables import Table

NAMES = ("label", "labels", "class", "category", "target", "breed", "species", "y")
WORDS = {"label", "labels", "class", "classes", "classname", "category", "target", "breed", "species", "tag", "tags"}
SPLIT_WORDS = {"split", "fold", "folds", "kfold", "subset", "partition", "usage", "phase"}
# How strong the evidence for a choice is.
NAMED, IN_HEADER, IN_VALUES, NOT_IN_TEST, BY_NAME, LEFT_OVER = 6, 5, 4, 3, 2, 1


@dataclass(frozen=True)
class LabelColumns:
    """The label columns of a table: one column, or several of 0 and 1."""

    columns: tuple[int, ...]
    strength: int  # NAMED to LEFT_OVER
    why: str  # for messages, such as "as in sample_submission.csv"


class TwoReadings(DataError):
    """Several columns that could be the labels."""

    match: Match
    columns: list[int]


def label_columns(
    match: Match, *, sample: Match | None, tests: Sequence[Table], wanted: str | None = None
) -> LabelColumns | None:
    """Return the label columns of a table, or None if no column qualifies.

    In this order: the column the user names; the one in the sample's header; the one whose values are the sample's
    columns; the one missing from the test table; the usual names; the only one left. Raises TwoReadings if two columns
    are left.
    """
    if wanted is not None:
        return _wanted(match, wanted)
    table = match.table
    header = {table.column_name(c).lower(): c for c in reversed(range(table.width))} if match.first else {}
    if sample and sample.first:
        names = [sample.table.column_name(c) for c in range(sample.table.width) if c != sample.column]
        named = [header[name.lower()] for name in names if name.lower() in header]
        name = sample.table.name.rpartition("/")[2]
        if names and len(named) == len(names) and match.column not in named:
            return LabelColumns(tuple(named), IN_HEADER, f"as in {name}")
    left = candidates(match)
    if sample and (by_values := _in_values(match, left, sample)):
        return by_values
    lacking = _not_in_test(match, left, tests)
    if len(lacking) == 1:
        return LabelColumns((lacking[0],), NOT_IN_TEST, "which is missing from the test table")
    left = lacking or left
    if named := _by_name(match, left, lacking):
        return LabelColumns((named[0],), BY_NAME, "by its name")
    if len(left) > 1:
        raise _two_readings(match, left)
    return LabelColumns((left[0],), LEFT_OVER, "the only one left") if left else None


def split_column(match: Match) -> tuple[int, dict[str, str]] | None:
    """Return the column of splits (train, valid, test), and the role of each of its values."""
    for column in range(min(match.table.width, MAX_COLUMNS)):
        if column != match.column and (roles := column_roles(match.values(column))):
            return column, roles
    return None


def candidates(match: Match) -> list[int]:
    """Return the columns that could be labels: not ids, splits, constants, or a different text on each line."""
    left: list[int] = []
    unlike: list[int] = []
    for column in range(min(match.table.width, MAX_COLUMNS)):
        if column == match.column or column in match.rivals:
            continue
        values = match.values(column)
        distinct = {*values} - {""}
        if len(distinct) < 2 and match.table.width > 2:
            continue
        if column_roles(values) or words_of(match.header(column)) & SPLIT_WORDS:
            continue
        if match.first and are_row_numbers(match.table, column):
            continue
        is_unlike = len(distinct) == len(values) > 2 and not all(map(is_number, distinct))
        (unlike if is_unlike else left).append(column)
    return left or unlike


def is_number(text: str) -> bool:
    """Return whether a value is a number."""
    return bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text))


def is_binary(values: Sequence[str]) -> bool:
    """Return whether a column contains only 0 and 1."""
    return {*values} <= {"0", "1", "0.0", "1.0"}


def _wanted(match: Match, wanted: str) -> LabelColumns | None:
    """Return the columns that the user names: one, or several separated by commas."""
    table = match.table
    whole = table.find_column(wanted)
    found = [whole] if whole is not None else [table.find_column(name.strip()) for name in wanted.split(",")]
    columns = [column for column in found if column is not None]
    if len(columns) < len(found):
        return None
    if match.column in columns:
        raise DataError(
            f'the column "{wanted}" of {table.name} contains the ids of the pictures.',
            where="--label",
            expected=f"a column of labels: {first_few([match.shown(c).strip(chr(34)) for c in candidates(match)], 8)}",
            do="name another column, or the id column: --id COLUMN",
        )
    return LabelColumns(tuple(columns), NAMED, "as given by --label")


def unknown_column(option: str, name: str, tables: Sequence[Table]) -> DataError:
    """Return the error for a column that no table has."""
    known = [shown(column) for table in tables for column in table.lines[0][1][:20]] if tables else []
    return DataError(
        f'no table of these pictures has the column "{name}".',
        where=f"--{option}",
        expected=f"one of {first_few(dict.fromkeys(known), 10)}" if known else "a CSV file with that column",
        do=did_you_mean(name, known, "check the name"),
    )


def _in_values(match: Match, left: Sequence[int], sample: Match) -> LabelColumns | None:
    """Return the column whose values appear in the sample: as names of its columns, or as labels in its lines."""
    name = sample.table.name.rpartition("/")[2]
    others = [c for c in range(sample.table.width) if c != sample.column]
    if sample.first and len(others) > 1:
        wanted = {sample.table.column_name(c) for c in others}
        found = [c for c in left if len(wanted & {*match.values(c)}) > len(wanted) / 2]
        why = f"whose values are the columns of {name}"
    elif len(others) == 1:
        cells = {cell for cell in sample.values(others[0]) if cell}
        wanted = cells | {word for cell in cells for word in cell.split()}
        if not cells or any(map(is_number, cells)):
            return None
        found = [c for c in left if cells <= (own := {*match.values(c)}) or (wanted - cells and wanted - cells <= own)]
        why = f"whose values are those of {name}"
    else:
        return None
    if all(match.values(c) == match.values(found[0]) for c in found[1:]):
        found = found[:1]
    return LabelColumns((found[0],), IN_VALUES, why) if len(found) == 1 else None


def _not_in_test(match: Match, left: Sequence[int], tests: Sequence[Table]) -> list[int]:
    if not match.first:
        return []
    for table in tests:
        own = {name.lower() for name in table.lines[0][1]}
        lacking = [c for c in left if match.table.column_name(c).lower() not in own]
        if lacking and len(lacking) < match.table.width:
            return lacking
    return []


def _by_name(match: Match, left: Sequence[int], lacking: Sequence[int]) -> list[int]:
    """Return the column with a usual name. Raises TwoReadings if two such columns have different meanings."""
    among = lacking or [c for c in range(min(match.table.width, MAX_COLUMNS)) if c != match.column]
    exact = [c for name in NAMES for c in among if match.header(c).lower() == name and c not in match.rivals]
    if any(match.header(c).lower() == "x" for c in range(min(match.table.width, MAX_COLUMNS))):
        exact = [c for c in exact if match.header(c).lower() != "y"]  # coordinates
    found = exact or [c for c in left if words_of(match.header(c)) & WORDS]
    for other in found[1:]:
        one, two = match.values(found[0]), match.values(other)
        if not same_partition(one, two) or (one != two and {*one} == {*two}):
            raise _two_readings(match, found)
    # class_id and class_name are equivalent: names are better than numbers.
    return sorted(found, key=lambda c: all(map(is_number, match.values(c)))) if not exact else found


def same_partition(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether two columns group the lines in the same way."""
    pairs = {*zip(one, other, strict=True)}
    return len(pairs) == len({*one}) == len({*other})


def _two_readings(match: Match, columns: Sequence[int]) -> TwoReadings:
    names = [match.shown(c).strip('"') for c in columns]
    listed = []
    for column, name in list(zip(columns, names, strict=True))[:5]:
        values = dict.fromkeys(match.values(column))
        listed.append(f'"{name}" ({len(values):,} values: {", ".join(map(shown, list(values)[:3]))}, ...)')
    do = f"name the right one: {' or '.join(f'--label {name}' for name in names[:3])}"
    if len(columns) > 1 and all(is_binary(match.values(c)) for c in columns):
        do += f", or all of them if each is a class: --label {','.join(names)}"
    problem = TwoReadings(
        f"{len(columns)} columns of {match.table.name} could be the labels: {', '.join(listed)}.",
        where=match.table.name,
        expected="one column of labels, or a sample submission whose header names it",
        do=do,
    )
    problem.match, problem.columns = match, list(columns)
    return problem
