"""Turn pictures and tables into rows and a Task. Labels come from a table, class folders or file names."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from snellen.errors import DataError, first_few
from snellen.sources.answers import SampleLines, TaskOptions, refuse_multi, separator_of
from snellen.sources.class_folders import ClassFolders, class_rows, find_class_folders, paths_of_test
from snellen.sources.columns import LEFT_OVER, NOT_IN_TEST, TwoReadings, is_number, same_partition
from snellen.sources.csv_labels import (
    TableLabels,
    describe_columns,
    find_labels,
    find_sample,
    is_own_predictions,
    is_sample_name,
    labelled_rows,
    more_labels,
    names_nothing,
    rows_of_test,
    table_role,
    with_sample,
)
from snellen.sources.file_names import NameLabels, find_name_labels
from snellen.sources.lookup import Lookup, Match
from snellen.sources.names import shown
from snellen.sources.roles import GENERIC, Below, folder_roles, words_of
from snellen.sources.rows import Row, common_folder, ids_of, natural_key
from snellen.sources.tables import Table, collector_paused
from snellen.task import Task

log = logging.getLogger("snellen")
# Values of --labels other than a file.
WORDS = ("folders", "names")


@dataclass(frozen=True, eq=False)
class Labelled:
    """The rows of a picture source, and the origin of its labels."""

    kind: str  # for messages
    rows: list[Row]  # labelled, then test
    classes: tuple[str, ...]
    told: str  # the origin of the labels, for messages
    sample: Match | None
    hint: Match | None  # the sample, or one that matches no picture here but still shows the form of the answers
    table: TableLabels | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """The pictures and tables that may contain labels."""

    roles: dict[str, Below]
    labelled: list[str]  # pictures outside the test split
    tests: list[str]
    tables: list[Table]  # without the sample passed by the user
    sample: Table | None  # passed by the user
    hint: Match | None

    @cached_property
    def pictures(self) -> Lookup:
        """Return the pictures outside the test split, by id."""
        return Lookup(self.labelled)

    @property
    def known(self) -> set[str]:
        """Return the classes in the sample, as columns or as labels."""
        if self.hint is None:
            return set()
        lines = SampleLines.of(self.hint.table, self.hint.column, self.hint.first)
        if len(lines.columns) > 1:
            return {*lines.columns}
        cells = lines.distinct
        return {word for cell in cells for word in (cell, *cell.split()) if not is_number(word)}


def read_labelled(
    paths: Sequence[str],
    tables: Sequence[Table],
    *,
    labels: Table | str | None = None,
    sample: Table | None = None,
    test: Collection[str] | None = None,
    options: TaskOptions | None = None,
) -> Labelled | None:
    """Find the labels of pictures. Returns None if there are none.

    labels: a table, or one of WORDS. sample, test (paths): if already known. Raises DataError if they are ambiguous.
    """
    with collector_paused():
        return _read_labelled(paths, tables, labels, sample, test, options or TaskOptions())


def _read_labelled(
    paths: Sequence[str],
    tables: Sequence[Table],
    labels: Table | str | None,
    sample: Table | None,
    test: Collection[str] | None,
    options: TaskOptions,
) -> Labelled | None:
    seen = _evidence(paths, tables, sample, test)
    usable = [t for t in seen.tables if "submission" not in t.name.lower() and not is_own_predictions(t)]
    usable = [t for t in usable if not is_sample_name(t.name)] or usable
    best, problem = None, None
    if not isinstance(labels, str):
        try:
            best = find_labels(
                [labels] if labels else usable,
                seen.labelled,
                sample=seen.hint,
                label=options.label,
                id=options.id,
                is_given=labels is not None,
                pictures=seen.pictures,
            )
        except TwoReadings as several:
            problem = several
        if labels is not None and best is None and problem is None:
            raise names_nothing(labels, "labels file", seen.labelled)
    is_asked = labels is not None and not isinstance(labels, str)
    if options.label is not None and best is None and problem is None and not isinstance(labels, str):
        raise DataError(
            f'no table lists the pictures, so there is no column "{options.label}".',
            where="--label",
            do="pass the table (--labels CSV), or leave out --label",
        )
    folders = None
    is_sure = (
        best is not None and best.chosen.strength >= NOT_IN_TEST and len(best.match.named) > len(seen.labelled) / 2
    )
    if labels != "names" and not is_asked and options.label is None and not is_sure:
        try:
            folders = find_class_folders(_train_names(seen.roles), seen.known)
        except DataError as twofold:
            if best is None:
                raise problem or twofold from None
    if best and folders and not _table_wins(best, folders, seen):
        best = None
    if best:
        return _by_table(best, seen, options)
    if folders:
        if problem and labels != "folders":
            _check_doubt(problem, folders)
        return _by_folders(seen, usable)
    if problem:
        raise problem
    if labels == "folders":
        raise DataError("the folders of the pictures are not classes.", where="--labels", do="leave out --labels")
    names = find_name_labels([path for path in seen.labelled if seen.roles[path].role != "valid"])
    if labels == "names" and names is None:
        raise DataError(
            f"the file names contain no labels, first {first_few(seen.labelled)}.",
            where="--labels",
            expected="names such as cat.0.jpg and dog_12.jpg: a label and a number",
            do="pass a table of labels: --labels CSV",
        )
    return _by_names(names, seen) if names else None


def _evidence(
    paths: Sequence[str], tables: Sequence[Table], sample: Table | None, test: Collection[str] | None
) -> Evidence:
    roles = folder_roles(paths)
    if test is not None:
        roles = {
            path: replace(below, role="test" if path in test else "" if below.role == "test" else below.role)
            for path, below in roles.items()
        }
    groups: dict[str, dict[str, str]] = {role: {} for role in ("train", "valid", "test", "all", "unlabelled", "")}
    for path, below in roles.items():
        groups[below.role][path] = below.path
    tests = groups["test"] or groups["unlabelled"]
    labelled = [path for path in paths if roles[path].role in ("train", "valid", "")]
    if not groups["train"]:
        labelled += groups["all"]
    tables = [table for table in tables if table is not sample]
    named = [sample] if sample else [table for table in tables if is_sample_name(table.name) and table.width > 1]
    hint = find_sample(named, list(tests) or labelled, is_known=True) or next(
        (Match(table, 0, 1, [[] for _ in table.lines[1:]], 0.0) for table in named if len(table.lines) > 1), None
    )
    return Evidence(roles, labelled, list(tests), tables, sample, hint)


def _train_names(roles: Mapping[str, Below]) -> dict[str, str]:
    for wanted in ("train", "all", ""):
        if found := {path: below.path for path, below in roles.items() if below.role == wanted}:
            return found
    return {}


def _table_wins(best: TableLabels, folders: ClassFolders, seen: Evidence) -> bool:
    """Return whether a table holds the labels instead of the class folders. Raises DataError if they disagree."""
    own, its = best.by_path, folders.labels
    shared = sorted(own.keys() & its.keys(), key=natural_key)
    if len(best.match.named & its.keys()) < 0.5 * len(its):
        return False  # a table that lists few of the pictures is not about their classes
    if best.chosen.strength >= NOT_IN_TEST or all(own[path] == its[path] for path in shared):
        return True
    table_classes, folder_classes = {own[path] for path in shared}, {its[path] for path in shared}
    if seen.known and len(seen.known & folder_classes) > len(seen.known & table_classes):
        return False
    if seen.known & table_classes or same_partition([own[p] for p in shared], [its[p] for p in shared]):
        return True
    if all(_is_shelf(name) for name in folder_classes):
        return True
    overlap = {name.lower() for name in table_classes} & {name.lower() for name in folder_classes}
    is_left_over = best.chosen.strength == LEFT_OVER
    if is_left_over and not overlap and all(map(is_number, table_classes)):
        log.info("%s is not used for labels: the folders are the classes", best.match.table.name)
        return False
    if 2 * len(overlap) >= min(len(table_classes), len(folder_classes)) or is_left_over:
        odd = [path for path in shared if own[path] != its[path]]
        name = shown(best.match.table.name)
        raise DataError(
            f"{name} and the class folders disagree on {len(odd):,} of {len(shared):,} pictures.",
            where=f'{odd[0]}: "{shown(own[odd[0]])}" in {name}, column '
            f'{best.match.shown(best.chosen.columns[0])}, "{shown(its[odd[0]])}" by its folder',
            expected="the same labels in both",
            do=f"pass --labels {name} or --labels folders",
        )
    log.warning("the folders %s are not used as classes: %s", first_few(sorted(folder_classes)), best.told)
    return True


def _check_doubt(problem: TwoReadings, folders: ClassFolders) -> None:
    """Raise `problem` unless a column agrees with the class folders or all columns are numbers such as sizes."""
    match, its = problem.match, folders.labels
    lines = [number for number, where in enumerate(match.where) if len(where) == 1 and where[0] in its]
    if len(lines) < 0.5 * len(its):
        return
    by_folder = [its[match.where[number][0]] for number in lines]
    for column in problem.columns:
        values = match.values(column)
        if same_partition([values[number] for number in lines], by_folder):
            return
    if not all(is_number(value) for column in problem.columns for value in match.values(column) if value):
        problem.do += ", or use the class folders: --labels folders"
        raise DataError(problem.what, where=problem.where, expected=problem.expected, do=problem.do)


def _is_shelf(name: str) -> bool:
    """Return whether a folder name is only for storage: a number, a few hexadecimal digits or a generic word."""
    words = words_of(name)
    return bool(re.fullmatch(r"[0-9a-fA-F]{1,3}|\d+", name)) or (bool(words) and words <= GENERIC)


def _by_table(best: TableLabels, seen: Evidence, options: TaskOptions) -> Labelled:
    values = best.values()
    others = [table for table in seen.tables if table is not best.match.table and not is_own_predictions(table)]
    labelled, tests = seen.labelled, seen.tests
    classes = {value for value in values if value}
    rest = [path for path in labelled if path not in best.match.named]
    sample = find_sample([seen.sample] if seen.sample else others, tests, is_known=seen.sample is not None)
    parts = [best]
    if rest:
        parts += more_labels(best, [t for t in others if not is_sample_name(t.name)], rest, classes, options.id)
    if not tests and rest:
        # All pictures in one folder: unlabelled pictures that another table lists are the test pictures.
        named = {path for part in parts for path in part.match.named}
        rest = [path for path in labelled if path not in named]
        sample = find_sample([seen.sample] if seen.sample else others, rest, is_known=seen.sample is not None)
        if sample or any(_names_most(table, rest) for table in others):
            tests, labelled = rest, [path for path in labelled if path in named]
    if seen.sample and not sample:
        raise names_nothing(seen.sample, "sample submission", tests)
    if tests:
        others = [t for t in others if not (sample and t is sample.table) and not is_sample_name(t.name)]
        used = [part.match.table for part in parts]
        parts += more_labels(best, [t for t in others if all(t is not u for u in used)], tests, classes, options.id)
    folders = {path: below.role for path, below in seen.roles.items()}
    roles = [table_role(part.match, folders) if part is not best or len(parts) > 1 else "" for part in parts]
    loose = {path for path in labelled if folders[path] == "" and "train" in folders.values()}
    loose -= {path for part in parts for path in part.match.named}
    if loose:
        log.warning("%d pictures outside the train folder are left out, first %s", len(loose), _first(loose))
        labelled = [path for path in labelled if path not in loose]
    log.info("labels: %s, %s", best.match.table.name, describe_columns(best))
    for part, role in zip(parts[1:], roles[1:], strict=True):
        log.info("labels%s: %s, %s", f" ({role})" if role else "", part.match.table.name, describe_columns(part))
    rows = labelled_rows(list(zip(parts, roles, strict=True)), labelled, tests)
    rows = _with_folder_split(rows, folders)
    label_of = {row.path: row.label for row in rows if row.split == "test" and row.label}
    own_tests = [row for row in rows if row.split == "test"]
    rows = [row for row in rows if row.split != "test"]
    all_tests = [*dict.fromkeys([*tests, *(row.path for row in own_tests)])]
    if sample is None and own_tests and len(own_tests) == len(all_tests):
        rows += own_tests
    else:
        rows += rows_of_test(sample, all_tests, label_of)
    header = best.match.header(best.chosen.columns[0]) if len(best.chosen.columns) == 1 else ""
    _refuse_several(best, header, options)
    return Labelled(
        f"pictures with labels from {best.match.table.name}",
        rows,
        classes_of(rows)
        if len(best.chosen.columns) == 1
        else tuple(sorted(map(best.match.header, best.chosen.columns))),
        best.told,
        sample,
        sample or seen.hint,
        best,
    )


def _refuse_several(best: TableLabels, header: str, options: TaskOptions) -> None:
    """Raise DataError if images have several labels each."""
    values = best.values()
    if len(best.chosen.columns) > 1:
        counts = {value.count("\n") + bool(value) for value in values}
        if counts == {1}:
            return
        classes = sorted(map(best.match.header, best.chosen.columns))
        what = f"the columns {first_few(classes)} of {best.match.table.name} do not contain exactly one 1 per line"
        refuse_multi(Task(tuple(classes), "multi", "columns", "f1_samples"), what)
    separator = separator_of(values, header, options.kind)
    if separator is not None:
        classes = sorted({part.strip() for value in values for part in value.split(separator)} - {""})
        name = {" ": "spaces", ",": "commas", ";": "semicolons", "|": "vertical bars"}[separator]
        what = f"column {best.match.shown(best.chosen.columns[0])} of {best.match.table.name} separates them by {name}"
        refuse_multi(Task(tuple(classes), "multi", "labels", "f1_samples"), what)


def _with_folder_split(rows: list[Row], folders: Mapping[str, str]) -> list[Row]:
    """Return the rows with the split of a valid folder, unless a table or column already decides it."""
    if any(row.split == "valid" for row in rows) or "valid" not in {folders[row.path] for row in rows}:
        return rows
    log.info("the source has a valid folder: its split is kept, --valid-share has no effect")
    return [
        row if row.split == "test" else replace(row, split="valid" if folders[row.path] == "valid" else "train")
        for row in rows
    ]


def _names_most(table: Table, paths: Sequence[str]) -> bool:
    match = find_sample([table], paths, is_known=True)
    if match is None and table.width == 1:
        stems = {path.rpartition("/")[2].rpartition(".")[0] for path in paths}
        return len(stems & {row[0].rpartition("/")[2] for _, row in table.lines if row}) > len(paths) / 2
    return match is not None and match.score > 0.5


def _by_folders(seen: Evidence, tables: Sequence[Table]) -> Labelled:
    classes = {*find_class_folders(_train_names(seen.roles), seen.known).labels.values()}  # type: ignore[union-attr]
    more: dict[str, str] = {}
    for role in ("valid", "test"):
        flat = [
            path
            for path, below in seen.roles.items()
            if below.role == role and not any(part in classes for part in below.path.split("/")[:-1])
        ]
        for part in more_labels(None, tables, flat, classes, None) if flat else []:
            log.info("labels (%s): %s, %s", role, part.match.table.name, describe_columns(part))
            more |= part.by_path
    rows = class_rows(list(seen.roles), roles=seen.roles, known=seen.known, more=more)
    assert rows is not None, "the folders were already read once"
    rows, sample = with_sample(rows, seen.tables, seen.sample)
    return Labelled("class folders", rows, classes_of(rows), "the folders", sample, sample or seen.hint)


def _by_names(names: NameLabels, seen: Evidence) -> Labelled:
    """Return labels from file names. Raises DataError for pictures without a label in their name."""
    if names.odd:
        raise DataError(
            f"{len(names.odd)} of {len(names.labels) + len(names.odd)} file names contain no label, first "
            f"{first_few(names.odd)}.",
            expected=f"names like {first_few(names.labels)}",
            do="move these pictures elsewhere, or pass a table of labels: --labels CSV",
        )
    labels, has_valid = dict(names.labels), False
    valid = [path for path in seen.labelled if seen.roles[path].role == "valid"]
    if valid and (more := find_name_labels(valid)) and {*more.labels.values()} <= {*labels.values()}:
        labels, has_valid = labels | more.labels, True
    elif valid:
        log.warning("%d pictures in the valid folder have no label: they are left out", len(valid))
    top = common_folder(labels)
    ids = ids_of([path.rpartition("/")[2] for path in labels], [path.removeprefix(top) for path in labels], [*labels])
    rows = [
        Row(id, label, ("valid" if path in set(valid) else "train") if has_valid else None, path)
        for id, (path, label) in zip(ids, labels.items(), strict=True)
    ]
    rows.sort(key=lambda row: natural_key(row.id))
    tests = paths_of_test(
        {role: {p: p for p, below in seen.roles.items() if below.role == role} for role in ("test", "unlabelled")}
    )
    rows, sample = with_sample(rows + rows_of_test(None, list(tests)), seen.tables, seen.sample)
    return Labelled("labels in file names", rows, classes_of(rows), "the file names", sample, sample or seen.hint)


def classes_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the sorted labels of train and valid. Raises DataError for test labels that are not among them."""
    trained = {row.label for row in rows if row.label and row.split != "test"}
    if odd := sorted({row.label for row in rows if row.label} - trained):
        raise DataError(
            f"{len(odd)} labels of test pictures are not among the training labels, first {first_few(odd)}.",
            expected=f"the classes {first_few(sorted(trained), 8)}",
            do="correct the labels of the test pictures, or remove them",
        )
    return tuple(sorted(trained))


def _first(paths: Collection[str]) -> str:
    return first_few(sorted(paths, key=natural_key))
