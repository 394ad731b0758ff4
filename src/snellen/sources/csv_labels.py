"""Find the table with the labels, and further tables for other splits."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from snellen.errors import DataError, first_few
from snellen.sources import columns
from snellen.sources.columns import BY_NAME, LabelColumns, TwoReadings, label_columns, split_column
from snellen.sources.label_lists import as_list
from snellen.sources.lookup import Lookup, Match, match_ids
from snellen.sources.names import shown
from snellen.sources.rows import natural_key
from snellen.sources.sample_rows import is_sample_name
from snellen.sources.several_labels import Reading
from snellen.sources.tables import Table


@dataclass(frozen=True, eq=False)
class TableLabels:
    """A table with labels, and its label columns."""

    match: Match
    chosen: LabelColumns
    reading: Reading | None = None  # how a line holds several labels; None: it has one

    def values(self) -> list[str]:
        """Return the label of each line; with a reading, the list of its labels as one text, see label_lists.py."""
        cells = self.cells()
        return cells if self.reading is None else [as_list(self.reading.labels(cell)) for cell in cells]

    def cells(self) -> list[str]:
        """Return the cell of each line; for columns of 0 and 1, the names of those with 1, joined by newlines."""
        several = self.chosen.columns
        if len(several) == 1:
            return self.match.values(several[0])
        names = [self.match.header(column) or str(column + 1) for column in several]
        lines = zip(*(self.match.values(column) for column in several), strict=True)
        return ["\n".join(n for n, v in zip(names, line, strict=True) if v in ("1", "1.0")) for line in lines]

    @property
    def by_path(self) -> dict[str, str]:
        """Return the label of each picture that a line names unambiguously."""
        return {
            where[0]: value for where, value in zip(self.match.where, self.values(), strict=True) if len(where) == 1
        }

    @property
    def told(self) -> str:
        """Return a description of the table and its label columns, for messages."""
        names = [self.match.shown(column) for column in self.chosen.columns]
        several = f"columns {', '.join(names)}" if len(names) > 1 else f"column {names[0]}"
        text = f"{several} of {self.match.table.name}, {self.chosen.why}"
        return f"{text}, {self.reading.told}" if self.reading and self.reading.told else text


def is_own_predictions(table: Table) -> bool:
    """Return whether `snellen predict` wrote the table."""
    header = table.lines[0][1]
    is_ours = header[:2] in (["id", "label"], ["id", "labels"])
    return is_ours and len(header) > 3 and all(name.startswith("p_") for name in header[2:])


def find_labels(
    tables: Sequence[Table],
    paths: Sequence[str],
    *,
    sample: Match | None = None,
    label: str | None = None,
    id: str | None = None,
    is_given: bool = False,
    pictures: Lookup | None = None,
) -> TableLabels | None:
    """Return the table with the labels of `paths`, or None if no table lists them with a label column.

    Among tables that list about as many pictures, the one with the strongest evidence for its label column wins. Raises
    DataError if two tables are equally good but differ, or if two columns of the best one could be the labels.
    """
    pictures = pictures or Lookup(paths)
    found, problem, matches = [], None, []
    for table in tables:
        if table.width > 1 and (match := match_ids(table, pictures, len(paths), id=id)):
            matches.append(match)
    most = max((match.score for match in matches), default=0)
    for match in sorted(matches, key=lambda match: -round(match.score, 2)):
        if match.score < most / 2 and not is_given:
            continue
        tests = [table for table in tables if table is not match.table and _is_test_table(table, match)]
        try:
            chosen = label_columns(match, sample=sample, tests=tests, wanted=label)
        except TwoReadings as several:
            problem = problem or several
            continue
        if chosen:
            found.append(TableLabels(match, chosen))
    if not found:
        if problem:
            raise problem
        if label is not None and matches:
            raise columns.unknown_column("label", label, [match.table for match in matches])
        return None
    # A sample submission may list the same ids, but with one label for all.
    best = max(found, key=lambda one: (one.chosen.strength, round(one.match.score, 2), len({*one.values()}) > 1))
    if problem and best.chosen.strength < BY_NAME:
        raise problem
    for other in found:
        if other is not best and other.chosen.strength == best.chosen.strength:
            _refuse_rival(best, other)
    return best


def groups_by(column: str, tables: Sequence[Table], paths: Sequence[str], id: str | None) -> dict[str, str]:
    """Return the value of a column for each labelled picture. Raises DataError if the column or a value is missing."""
    pictures, matches = Lookup(paths), []
    found: dict[str, str] = {}
    for table in tables:
        named = id if id and table.find_column(id) is not None else None
        if table.width > 1 and (match := match_ids(table, pictures, len(paths), id=named)):
            matches.append(match)
            if match.first and (number := table.find_column(column)) is not None:
                for where, value in zip(match.where, match.values(number), strict=True):
                    if len(where) == 1 and value:
                        found.setdefault(where[0], value)
    if not found:
        raise columns.unknown_column("group-by", column, [match.table for match in matches])
    if missing := [path for path in paths if path not in found]:
        raise DataError(
            f'{len(missing):,} of {len(paths):,} labelled pictures have no value in "{column}", first '
            f"{first_few(missing)}.",
            where="--group-by",
            expected="a value for each picture: pictures with the same value stay together",
            do="fill in the column, or group by another one",
        )
    return found


def _refuse_rival(best: TableLabels, other: TableLabels) -> None:
    """Raise DataError if another table is as good but has other labels for the same pictures."""
    own, its = best.by_path, other.by_path
    odd = [path for path in own.keys() & its.keys() if own[path] != its[path]]
    if not odd or len(own.keys() & its.keys()) < 0.5 * len(own) or len({*its.values()}) == 1:
        return
    path = min(odd, key=natural_key)
    names = [shown(one.match.table.name) for one in (best, other)]
    raise DataError(
        f"two tables could hold the labels, {names[0]} and {names[1]}; they differ for {len(odd):,} pictures.",
        where=f'{path}: "{shown(own[path])}" in {names[0]}, "{shown(its[path])}" in {names[1]}',
        expected="one table of labels",
        do=f"pass the right one: --labels {names[0]}, or --labels {names[1]}",
    )


def _is_test_table(table: Table, match: Match) -> bool:
    """Return whether a table lists the test pictures with some of the columns of the labels table."""
    if not match.first or is_sample_name(table.name):
        return False
    own, labels = ({name.lower() for name in t.lines[0][1]} for t in (table, match.table))
    return own < labels and match.header(match.column).lower() in own


def more_labels(
    best: TableLabels | None, tables: Sequence[Table], paths: Sequence[str], classes: Collection[str], id: str | None
) -> list[TableLabels]:
    """Return further tables with labels of `paths`: val.csv beside train.csv, val_annotations.txt.

    They have the label column of `best` or, without a header, a column that contains only `classes`.
    """
    pictures, found = Lookup(paths), []
    for table in tables:
        if (best and table is best.match.table) or table.width < 2:
            continue
        match = match_ids(table, pictures, len(paths), id=id if id and table.find_column(id) is not None else None)
        if match is None:
            continue
        if best and match.first and best.match.first:
            names = [best.match.header(column).lower() for column in best.chosen.columns]
            header = [name.lower() for name in match.table.lines[0][1]]
            if not all(name in header for name in names):
                continue
            chosen = tuple(header.index(name) for name in names)
        else:
            fitting = [c for c in columns.candidates(match) if {*match.values(c)} <= {*classes}]
            if not fitting:
                continue
            chosen = (fitting[0],)
        values = {value for column in chosen for value in match.values(column)}
        has_several = best is not None and best.reading is not None
        if values - {""} and (len(chosen) > 1 or has_several or values - {""} <= {*classes} or not classes):
            columns_of_it = LabelColumns(chosen, BY_NAME, "as in the training labels")
            found.append(TableLabels(match, columns_of_it, best.reading if best else None))
    return found


def describe_columns(found: TableLabels) -> str:
    """Return a description of the used and unused columns of a table."""
    match, used = found.match, [found.match.column, *found.chosen.columns]
    text = f"ids in column {match.shown(match.column)}, labels in column "
    text += ", ".join(map(match.shown, found.chosen.columns))
    if split := split_column(match):
        text += f", splits in column {match.shown(split[0])}"
        used.append(split[0])
    unused = [match.shown(c) for c in range(match.table.width) if c not in used]
    more = f", ... ({len(unused)} in all)" if len(unused) > 10 else ""
    return text + (f"; columns not used: {', '.join(unused[:10])}{more}" if unused else "")
