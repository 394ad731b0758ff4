"""Labels from tables, as in Kaggle competitions: which table, which lines, and the splits train, valid and test."""

import heapq
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from snellen.errors import DataError, first_few
from snellen.sources import columns
from snellen.sources.columns import BY_NAME, LabelColumns, TwoReadings, label_columns, split_column
from snellen.sources.lookup import Lookup, Match, match_ids
from snellen.sources.names import CONTROL, MAX_LETTERS, shown
from snellen.sources.roles import role_of
from snellen.sources.rows import Row, common_folder, ids_of, natural_key, without_suffix
from snellen.sources.tables import Table

log = logging.getLogger("snellen")

Problems = list[tuple[int, str]]  # line number and its text


@dataclass(frozen=True, eq=False)
class TableLabels:
    """A table with labels, and its label columns."""

    match: Match
    chosen: LabelColumns

    def values(self) -> list[str]:
        """Return the label of each line; for columns of 0 and 1, the names of those with 1, joined by newlines."""
        several = self.chosen.columns
        if len(several) == 1:
            return self.match.values(several[0])
        names = [self.match.header(column) or str(column + 1) for column in several]
        lines = zip(*(self.match.values(column) for column in several), strict=True)
        return ["\n".join(n for n, v in zip(names, line, strict=True) if v in ("1", "1.0")) for line in lines]

    @property
    def by_path(self) -> dict[str, str]:
        """Return the label of each picture that is named by an unambiguous line."""
        return {
            where[0]: value for where, value in zip(self.match.where, self.values(), strict=True) if len(where) == 1
        }

    @property
    def told(self) -> str:
        """Return a description of the table and its label columns, for messages."""
        names = [self.match.shown(column) for column in self.chosen.columns]
        several = f"columns {', '.join(names)}" if len(names) > 1 else f"column {names[0]}"
        return f"{several} of {self.match.table.name}, {self.chosen.why}"


def is_sample_name(name: str) -> bool:
    """Return whether a table is named like a sample submission."""
    name = name.rpartition("/")[2].lower()
    return "submi" in name or "sample" in name


def is_own_predictions(table: Table) -> bool:
    """Return whether `snellen predict` wrote the table."""
    header = table.lines[0][1]
    return header[:2] == ["id", "label"] and len(header) > 3 and all(name.startswith("p_") for name in header[2:])


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

    Of tables that list nearly as many pictures, the one with the strongest evidence for its label column wins. Raises
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
            f'{len(missing):,} of {len(paths):,} labelled pictures have no value of "{column}", first '
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
        if values - {""} and (len(chosen) > 1 or values - {""} <= {*classes} or not classes):
            found.append(TableLabels(match, LabelColumns(chosen, BY_NAME, "as in the training labels")))
    return found


def find_sample(tables: Sequence[Table], paths: Sequence[str], *, is_known: bool) -> Match | None:
    """Return the table that lists the test pictures: one named like a sample, or one with more than half of them.

    A table that is not named like a sample must look like one: the same value on each line, or numbers from 0 to 1.
    """
    pictures = Lookup(paths)
    matches = [match for table in tables if table.width > 1 and (match := match_ids(table, pictures, len(paths)))]
    if not is_known:
        matches = [
            match
            for match in matches
            if is_sample_name(match.table.name) or (match.score > 0.5 and _looks_like_sample(match))
        ]
    return max(matches, key=lambda match: (is_sample_name(match.table.name), match.score), default=None)


def _looks_like_sample(match: Match) -> bool:
    others = [match.values(c) for c in range(match.table.width) if c != match.column][: columns.MAX_COLUMNS]
    if len(others) == 1:
        return len({*others[0]}) == 1
    return all(columns.is_number(value) and 0 <= float(value) <= 1 for values in others for value in values[:50])


def labelled_rows(parts: Sequence[tuple[TableLabels, str]], paths: Sequence[str], test: Sequence[str]) -> list[Row]:
    """Return one row for each labelled picture, in the order of the tables; those of `test` last.

    parts: tables with the role of their pictures; "" if it is unknown or in a column. paths: the pictures that need a
    label. test: pictures in test folders; they may have labels too, and remain test pictures.
    Raises DataError with the number and the first few of the mismatches.
    """
    first = parts[0][0]
    owner: dict[str, tuple[int, str]] = {}  # path -> line and id
    roles: dict[str, str] = {}
    labels: dict[str, str] = {}
    absent: Problems = []
    repeated: Problems = []
    ambiguous: Problems = []
    empty: Problems = []
    total, wanted = 0, set(paths)
    in_test: Lookup | None = None
    shares = False
    for part, role in parts:
        match = part.match
        match.table.check_width()
        _check_names(match, match.column, *part.chosen.columns)
        split = split_column(match)
        says = match.values(split[0]) if split else []
        lines = zip(match.table.lines[match.first :], match.ids, match.where, part.values(), strict=True)
        total += len(match.where)
        for number, ((line, _), id, where, label) in enumerate(lines):
            is_test = False
            if not where and id and test:
                if in_test is None:
                    # If train and test share names, only a path can refer to a test picture here.
                    in_test = Lookup(test)
                    shares = not in_test.by_stem.keys().isdisjoint(Lookup(paths).by_stem)
                if "/" in id or not shares:
                    where, is_test = in_test.find(id), True
            if not id or (not label and len(part.chosen.columns) == 1):
                if not (is_test and id):
                    empty.append((line, id))
            elif len(where) > 1:
                ambiguous.append((line, f"{id} ({', '.join(where[:3])})"))
            elif not where:
                absent.append((line, id))
            elif where[0] in owner:
                repeated.append((line, f"{id} (first in line {owner[where[0]][0]})"))
            else:
                owner[where[0]], labels[where[0]] = (line, id), label
                named = split[1].get(says[number], "") if split else ""
                roles[where[0]] = "test" if is_test or where[0] not in wanted else named or role
                if split and is_test and named not in ("test", ""):
                    raise DataError(
                        f'{where[0]} lies in a test folder, but its {match.shown(split[0])} is "{says[number]}".',
                        where=f"{match.table.name}, line {line}",
                        expected="the same in both",
                        do="correct the table, or move the picture",
                    )
    unlabelled = sorted((path for path in paths if path not in owner), key=natural_key) if not ambiguous else []
    complaints = [
        _count(empty, total, "lines have no id or no label"),
        _count(repeated, total, "ids are repeated"),
        _count(ambiguous, total, "ids match more than one picture"),
        _count(absent, total, "labels have no picture"),
        f"{len(unlabelled)} of {len(paths)} pictures have no label, first {first_few(unlabelled)}"
        if unlabelled
        else "",
    ]
    if any(complaints):
        match = first.match
        raise DataError(
            "labels and pictures do not match: " + "; ".join(filter(None, complaints)) + ".",
            where=f"{match.table.name}, column {match.shown(match.column)}",
            expected="each picture named once, with a label",
            do="correct the table, pass another one (--labels CSV, --id COLUMN), or add or remove the pictures; were "
            "all files unpacked?",
        )
    has_valid = "valid" in roles.values()
    splits = {"valid": "valid", "test": "test", "train": "train" if has_valid else None, "": None}
    if has_valid and "" in roles.values():
        splits[""] = "train"
    ids = _without_suffixes([id for _, id in owner.values()])
    rows = [Row(id, labels[path], splits[roles[path]], path) for id, path in zip(ids, owner, strict=True)]
    return [row for row in rows if row.split != "test"] + [row for row in rows if row.split == "test"]


def table_role(match: Match, folders: Mapping[str, str]) -> str:
    """Return the role of a table's pictures: that of their folders, or of the table's name, or ""."""
    roles = {folders[path] for path in match.named}
    if len(roles) == 1 and (role := roles.pop()) in ("train", "valid", "test"):
        return role
    role = role_of(match.table.name.rpartition("/")[2].partition(".")[0])
    return role if role in ("train", "valid", "test") else ""


def rows_of_test(found: Match | None, paths: Sequence[str], labels: Mapping[str, str] | None = None) -> list[Row]:
    """Return one row for each test picture, in the order of the sample if there is one. Raises DataError."""
    labels = labels or {}
    if found is None:
        folder = common_folder(paths)
        ids = ids_of([path.removeprefix(folder) for path in paths])
        rows = [Row(id, labels.get(path), "test", path) for id, path in zip(ids, paths, strict=True)]
        return sorted(rows, key=lambda row: natural_key(row.id))
    log.info("sample submission: %s, %d ids", found.table.name, len(found.ids))
    found.table.check_width()
    _check_names(found, found.column)
    place: dict[str, str] = {}
    missing: Problems = []
    repeated: Problems = []
    for (line, _), id, where in zip(found.table.lines[found.first :], found.ids, found.where, strict=True):
        if len(where) != 1:
            missing.append((line, id))
        elif where[0] in place:
            repeated.append((line, id))
        else:
            place[where[0]] = id
    extra = sorted((path for path in paths if path not in place), key=natural_key)
    total = len(found.where)
    complaints = [
        _count(missing, total, "ids of the sample have no test picture, or more than one"),
        _count(repeated, total, "ids of the sample are repeated"),
        f"{len(extra)} of {len(paths)} test pictures are not in the sample, first {first_few(extra)}" if extra else "",
    ]
    if any(complaints):
        raise DataError(
            "the sample submission and the test pictures do not match: " + "; ".join(filter(None, complaints)) + ".",
            where=found.table.name,
            expected="each test picture named once",
            do="were all test files unpacked? is it this competition's sample? pass another with --sample CSV",
        )
    ids = _without_suffixes(list(place.values()))
    return [Row(id, labels.get(path), "test", path) for id, path in zip(ids, place, strict=True)]


def with_sample(rows: list[Row], tables: Sequence[Table], sample: Table | None) -> tuple[list[Row], Match | None]:
    """Return the rows with the test ones in the order of the sample submission, if one of the tables is a sample.

    sample: passed by the user. Raises DataError if it does not match the test pictures.
    """
    test = {row.path: row for row in rows if row.split == "test"}
    match = find_sample([sample] if sample else tables, list(test), is_known=sample is not None)
    if match is None:
        if sample:
            raise names_nothing(sample, "sample submission", list(test))
        return rows, None
    ordered = [replace(row, label=test[row.path].label) for row in rows_of_test(match, list(test))]
    return [row for row in rows if row.split != "test"] + ordered, match


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


def _check_names(found: Match, *numbers: int) -> None:
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
        _count(long, total, f"lines have an id or label of more than {MAX_LETTERS:,} characters"),
        _count(odd, total, "lines contain control characters in an id or label"),
    ]
    if any(complaints):
        raise DataError(
            "; ".join(filter(None, complaints)) + ".",
            where=found.table.name,
            expected=f"ids and labels of at most {MAX_LETTERS:,} characters, each on one line",
            do="correct the file, or get a new copy from its author",
        )


def _without_suffixes(ids: list[str]) -> list[str]:
    short = [without_suffix(id) for id in ids]
    return short if len(set(short)) == len(ids) else ids


def _count(problems: Problems, total: int, what: str) -> str:
    if not problems:
        return ""
    named = ", ".join(f'"{text}" in line {line}' for line, text in problems[:3])
    return f"{len(problems)} of {total} {what}, first {named}"


def describe_columns(found: TableLabels) -> str:
    """Return a description of the used and unused columns of a table."""
    match, used = found.match, found.chosen.columns
    text = f"ids in column {match.shown(match.column)}, labels in column {', '.join(map(match.shown, used))}"
    unused = [match.shown(c) for c in range(match.table.width) if c not in (match.column, *used)]
    more = f", ... ({len(unused)} in all)" if len(unused) > 10 else ""
    return text + (f"; columns not used: {', '.join(unused[:10])}{more}" if unused else "")
