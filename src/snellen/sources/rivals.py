"""Decide between a table and class folders if both could be the labels."""

import logging
import re

from snellen.errors import DataError, first_few
from snellen.sources.class_folders import ClassFolders
from snellen.sources.columns import (
    LEFT_OVER,
    NOT_IN_TEST,
    TwoReadings,
    is_number,
    same_partition,
)
from snellen.sources.csv_labels import TableLabels
from snellen.sources.evidence import Evidence
from snellen.sources.names import shown
from snellen.sources.roles import GENERIC, words_of
from snellen.sources.rows import natural_key

log = logging.getLogger("snellen")


def table_wins(best: TableLabels, folders: ClassFolders, seen: Evidence) -> bool:
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
            f'{best.match.shown(best.chosen.columns[0])}, "{shown(its[odd[0]])}" according to its folder',
            expected="the same labels in both",
            do=f"pass --labels {name} or --labels folders",
        )
    log.warning("the folders %s are not used as classes: %s", first_few(sorted(folder_classes)), best.told)
    return True


def check_doubt(problem: TwoReadings, folders: ClassFolders) -> None:
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
    """Return whether a folder only stores files: its name is a number, a few hexadecimal digits or a generic word."""
    words = words_of(name)
    return bool(re.fullmatch(r"[0-9a-fA-F]{1,3}|\d+", name)) or (bool(words) and words <= GENERIC)
