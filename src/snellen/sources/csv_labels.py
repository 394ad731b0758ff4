"""Flat pictures with a labels CSV and perhaps a sample submission, as Kaggle serves them: ids, labels, what is test."""

import logging
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from snellen.errors import DataError, first_few
from snellen.sources.names import CONTROL, MAX_LETTERS, shown
from snellen.sources.rows import Row, common_folder, ids_of, is_in_test_folder, natural_key, without_suffix
from snellen.sources.tables import Table, label_column

log = logging.getLogger("snellen")

Problems = list[tuple[int, str]]  # line number, and what stands there
MAX_COLUMNS = 100  # looked at for ids


class Lookup:
    """Pictures by id: an id may be a file name or a path, each with or without its ending."""

    def __init__(self, paths: Iterable[str]):
        self.by_stem: dict[str, list[str]] = {}
        for path in paths:
            self.by_stem.setdefault(_same_form(without_suffix(path).rpartition("/")[2]), []).append(path)

    def find(self, id: str) -> list[str]:
        """The paths that `id` can mean: one, or none, or several where it is ambiguous."""
        id = _same_form(id.replace("\\", "/").removeprefix("./"))
        stem = without_suffix(id)
        found = self._ending_with(id, stem) if stem != id else []
        return found or self._ending_with("", id)  # an id may look like a file name: "1.png" for 1.png.jpg

    def _ending_with(self, id: str, stem: str) -> list[str]:
        found = self.by_stem.get(stem.rpartition("/")[2], [])
        if id:
            found = [path for path in found if _is_end(id.lower(), _same_form(path).lower())]
        if "/" in stem:
            found = [path for path in found if _is_end(stem, _same_form(without_suffix(path)))]
        return found


def _same_form(text: str) -> str:
    # macOS writes "é" as two characters into archives, spreadsheets write one.
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _is_end(end: str, path: str) -> bool:
    return path == end or path.endswith("/" + end)


@dataclass(frozen=True)
class Match:
    """How well one column of a table names some pictures."""

    table: Table
    column: int
    first: int  # index of the first line that is data
    score: float  # share that the two sets, ids and pictures, have in common

    @property
    def ids(self) -> list[str]:
        """In the order of the table."""
        return self.table.column(self.column)[self.first :]


def match_ids(table: Table, pictures: Lookup, num_pictures: int) -> Match | None:
    """The column whose values name most pictures, where any does."""
    sample = table.lines[:200]
    counts = [
        sum(bool(len(row) > column and row[column] and pictures.find(row[column])) for _, row in sample)
        for column in range(min(table.width, MAX_COLUMNS))
    ]
    column = counts.index(max(counts)) if counts else 0
    if not counts or not counts[column]:
        return None
    values = table.column(column)
    first = 0 if pictures.find(values[0]) else 1
    found = {path for id in values[first:] for path in pictures.find(id)}
    return Match(table, column, first, len(found) / (num_pictures + len(values) - first - len(found)))


@dataclass(frozen=True)
class Competition:
    """Which pictures are labelled and which are test, and which tables say so."""

    labels: Match
    sample: Match | None
    labelled: list[str]  # paths
    test: list[str]

    def rows(self) -> list[Row]:
        """The labelled pictures in the order of the labels, then test in the order of the sample. Raises DataError."""
        return labelled_rows(self.labels, self.labelled) + test_rows(self.sample, self.test)


def find_competition(
    paths: Sequence[str], tables: Sequence[Table], *, labels: Table | None, sample: Table | None, test: set[str] | None
) -> Competition | None:
    """Find out what the tables are by what they name. None: none of them holds labels.

    labels, sample, test (paths): known already, not to be guessed.
    Raises DataError where `labels` or `sample` name none of the pictures.
    """
    test_paths = [path for path in paths if (path in test if test is not None else is_in_test_folder(path))]
    is_test = set(test_paths)
    labelled = [path for path in paths if path not in is_test]
    candidates = [table for table in tables if table is not sample and "submission" not in table.name.lower()]
    found = find_labels([labels] if labels else candidates, labelled)
    if found is None:
        if labels:
            raise _names_nothing(labels, "labels file", labelled)
        return None
    others = [sample] if sample else [table for table in tables if table is not found.table]
    if not test_paths and test is None:
        # All pictures in one folder: those that have no label and stand in another table are the test pictures.
        pictures = Lookup(labelled)
        named = {path for id in found.ids for path in pictures.find(id)}
        unlabelled = [path for path in labelled if path not in named]
        if find_sample(others, unlabelled, is_known=sample is not None):
            test_paths, labelled = unlabelled, [path for path in labelled if path in named]
    match = find_sample(others, test_paths, is_known=sample is not None)
    if sample and not match:
        raise _names_nothing(sample, "sample submission", test_paths)
    return Competition(found, match, labelled, test_paths)


def find_labels(tables: Sequence[Table], paths: Sequence[str]) -> Match | None:
    """The table that shares most with `paths`. A sample submission may name the same ids: it has one label for all."""
    pictures = Lookup(paths)
    matches = [match for table in tables if table.width > 1 and (match := match_ids(table, pictures, len(paths)))]

    def quality(match: Match) -> tuple[float, bool, int]:
        column = label_column(match.table, match.column)
        return round(match.score, 2), not is_sample_name(match.table.name), len({*match.table.column(column or 0)})

    return max(matches, key=quality, default=None)


def find_sample(tables: Sequence[Table], paths: Sequence[str], *, is_known: bool) -> Match | None:
    """The table that names the test pictures `paths`: called a sample, or sharing more than half with them."""
    pictures = Lookup(paths)
    matches = [match for table in tables if table.width > 1 and (match := match_ids(table, pictures, len(paths)))]
    if not is_known:
        matches = [match for match in matches if match.score > 0.5 or is_sample_name(match.table.name)]
    return max(matches, key=lambda match: (is_sample_name(match.table.name), match.score), default=None)


def with_sample(rows: list[Row], tables: Sequence[Table], sample: Table | None) -> tuple[list[Row], Match | None]:
    """Rows of class folders with those of test in the order of a sample submission, where one of the tables is that.

    sample: known already. Raises DataError where it and the test pictures do not fit.
    """
    test = {row.path: row for row in rows if row.split == "test"}
    match = find_sample([sample] if sample else tables, list(test), is_known=sample is not None)
    if match is None:
        if sample:
            raise _names_nothing(sample, "sample submission", list(test))
        return rows, None
    ordered = [replace(row, label=test[row.path].label) for row in test_rows(match, list(test))]
    return [row for row in rows if row.split != "test"] + ordered, match


def _names_nothing(table: Table, what: str, paths: Sequence[str]) -> DataError:
    examples = ids_of([path.removeprefix(common_folder(paths)) for path in paths[:3]])
    problem = f"names none of the {len(paths)} pictures it is for"
    if len(table.lines) == 1:
        problem = "has no lines below its header"
    elif not paths:
        problem = f"has {len(table.lines) - 1} ids, but no pictures were found that it could be for"
    return DataError(
        f"the {what} {problem}.",
        where=table.name,
        expected=f"a column of ids such as {first_few(examples)}" if examples else "",
        do="is it the right file? see --labels, --sample and --test",
    )


def is_sample_name(name: str) -> bool:
    name = name.rpartition("/")[2].lower()
    return "submi" in name or "sample" in name


def labelled_rows(found: Match, paths: Sequence[str]) -> list[Row]:
    """One row for each line of the labels, in their order. Raises DataError that counts and names what does not fit."""
    table, column = found.table, label_column(found.table, found.column)
    assert column is not None, "a table of one column is never taken for labels"
    log.info("labels: %s, %s", table.name, _columns(found, column))
    _check_names(found, found.column, column)
    pictures = Lookup(paths)
    owner: dict[str, tuple[int, str]] = {}  # path -> line and id that named it
    absent: Problems = []
    repeated: Problems = []
    ambiguous: Problems = []
    empty: Problems = []
    labels: dict[str, str] = {}
    for line, row in table.lines[found.first :]:
        id = row[found.column] if found.column < len(row) else ""
        label = row[column] if column < len(row) else ""
        where = pictures.find(id) if id else []
        if not id or not label:
            empty.append((line, id))
        elif len(where) > 1:
            ambiguous.append((line, f"{id} ({', '.join(where[:3])})"))
        elif not where:
            absent.append((line, id))
        elif where[0] in owner:
            repeated.append((line, f"{id} (first in line {owner[where[0]][0]})"))
        else:
            owner[where[0]], labels[where[0]] = (line, id), label
    unlabelled = sorted((path for path in paths if path not in owner), key=natural_key) if not ambiguous else []
    total = len(table.lines) - found.first
    complaints = [
        _count(empty, total, "lines have no id or no label"),
        _count(repeated, total, "ids are repeated"),
        _count(ambiguous, total, "ids mean more than one picture"),
        _count(absent, total, "labels have no picture"),
        f"{len(unlabelled)} of {len(paths)} pictures have no label, first {first_few(unlabelled)}"
        if unlabelled
        else "",
    ]
    if any(complaints):
        raise DataError(
            "labels and pictures do not fit: " + "; ".join(filter(None, complaints)) + ".",
            where=f"{table.name}, column {_name(found, found.column)}",
            expected="each picture named once, with a label",
            do="mend the labels file, or add or remove the pictures; were all files unpacked?",
        )
    ids = _without_suffixes([id for _, id in owner.values()])
    return [Row(id, labels[path], None, path) for id, path in zip(ids, owner, strict=True)]


def test_rows(found: Match | None, paths: Sequence[str]) -> list[Row]:
    """One row for each test picture, in the order of the sample where there is one. Raises DataError."""
    if found is None:
        folder = common_folder(paths)
        ids = ids_of([path.removeprefix(folder) for path in paths])
        rows = [Row(id, None, "test", path) for id, path in zip(ids, paths, strict=True)]
        return sorted(rows, key=lambda row: natural_key(row.id))
    log.info("sample submission: %s, %d ids", found.table.name, len(found.ids))
    _check_names(found, found.column)
    pictures = Lookup(paths)
    place: dict[str, str] = {}
    missing: Problems = []
    repeated: Problems = []
    for line, row in found.table.lines[found.first :]:
        id = row[found.column] if found.column < len(row) else ""
        where = pictures.find(id) if id else []
        if len(where) != 1:
            missing.append((line, id))
        elif where[0] in place:
            repeated.append((line, id))
        else:
            place[where[0]] = id
    extra = sorted((path for path in paths if path not in place), key=natural_key)
    total = len(found.table.lines) - found.first
    complaints = [
        _count(missing, total, "ids of the sample have no test picture, or more than one"),
        _count(repeated, total, "ids of the sample are repeated"),
        f"{len(extra)} of {len(paths)} test pictures are not in the sample, first {first_few(extra)}" if extra else "",
    ]
    if any(complaints):
        raise DataError(
            "the sample submission and the test pictures do not fit: " + "; ".join(filter(None, complaints)) + ".",
            where=found.table.name,
            expected="each test picture named once",
            do="were all test files unpacked? is it this competition's sample? name another with --sample CSV",
        )
    ids = _without_suffixes(list(place.values()))
    return [Row(id, None, "test", path) for id, path in zip(ids, place, strict=True)]


def _check_names(found: Match, *columns: int) -> None:
    """Raise DataError for ids or labels that no name can be, before a message or a terminal shows them."""
    long: Problems = []
    odd: Problems = []
    for line, row in found.table.lines[found.first :]:
        names = [row[column] for column in columns if column < len(row)]
        long += [(line, shown(name)) for name in names if len(name) > MAX_LETTERS][:1]
        odd += [(line, shown(name)) for name in names if CONTROL.search(name)][:1]
    total = len(found.table.lines) - found.first
    complaints = [
        _count(long, total, f"lines have an id or label of more than {MAX_LETTERS:,} letters"),
        _count(odd, total, "lines have control characters in an id or label"),
    ]
    if any(complaints):
        raise DataError(
            "; ".join(filter(None, complaints)) + ".",
            where=found.table.name,
            expected=f"ids and labels of at most {MAX_LETTERS:,} letters, each on one line",
            do="mend the file, or get it from its author again",
        )


def _without_suffixes(ids: list[str]) -> list[str]:
    short = [without_suffix(id) for id in ids]
    return short if len(set(short)) == len(ids) else ids


def _count(problems: Problems, total: int, what: str) -> str:
    if not problems:
        return ""
    named = ", ".join(f'"{text}" in line {line}' for line, text in problems[:3])
    return f"{len(problems)} of {total} {what}, first {named}"


def _name(found: Match, column: int) -> str:
    return f'"{shown(found.table.column_name(column))}"' if found.first else str(column + 1)


def _columns(found: Match, column: int) -> str:
    text = f"ids in column {_name(found, found.column)}, labels in column {_name(found, column)}"
    ignored = [_name(found, c) for c in range(found.table.width) if c not in (found.column, column)]
    return text + (f"; columns not used: {', '.join(ignored)}" if ignored else "")
