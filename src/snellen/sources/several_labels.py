"""Detect several labels per image: in one value, such as "haze primary", or in several columns of 0 and 1."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from snellen.errors import DataError, first_few
from snellen.sources.columns import LabelColumns
from snellen.sources.lookup import Match
from snellen.sources.names import shown
from snellen.sources.roles import words_of
from snellen.sources.task_options import TaskOptions

log = logging.getLogger("snellen")
PLURALS = {"labels", "tags", "classes", "attributes", "diseases", "findings"}
SEPARATORS = (";", "|", ",", " ")
SEPARATOR_NAMES = {" ": "spaces", ",": "commas", ";": "semicolons", "|": "vertical bars"}


def separator_of(values: Sequence[str], header: str, kind: str | None) -> str | None:
    """Return the separator between several labels in one value, or None if each value is one label.

    A separator counts if splitting leaves fewer distinct labels, which recur. Spaces count only if the words also occur
    alone or in other combinations: "golden retriever" stays one label. Raises DataError if the values are ambiguous.
    """
    if kind == "single":
        return None
    values = [value for value in dict.fromkeys(values) if value]
    for separator in SEPARATORS:
        split = {value: tuple(part.strip() for part in value.split(separator) if part.strip()) for value in values}
        several = {value: parts for value, parts in split.items() if len(parts) > 1}
        if not several:
            continue
        uses = Counter(part for parts in split.values() for part in set(parts))
        recurring = {part for parts in several.values() for part in parts if uses[part] > 1}
        alone = {parts[0] for parts in split.values() if len(parts) == 1}
        all_recur = all(part in recurring for parts in several.values() for part in parts)
        is_plural = bool(words_of(header) & PLURALS)
        if kind == "multi" or (is_plural and recurring):
            return separator
        lengths = {len(parts) for parts in split.values()}
        if separator != " ":
            if all_recur and len(uses) < len(values):
                return separator
            continue
        if all_recur and len(uses) < len(values) and {part for parts in several.values() for part in parts} <= alone:
            return separator
        if all_recur and len(uses) < len(values):
            if len(lengths) > 2:
                return separator
            one = next(iter(several))
            raise DataError(
                f'labels such as "{shown(one)}" could be one label, or several separated by spaces.',
                where=f'column "{shown(header)}"' if header else "",
                expected="one label or several, but not both",
                do="pass --kind single or --kind multi",
            )
        if alone & recurring:
            log.warning(
                'labels such as "%s" are read as one label each; if each holds several, run again with --kind multi',
                shown(next(value for value, parts in several.items() if set(parts) & alone)),
            )
    return None


@dataclass(frozen=True)
class Reading:
    """How the cells of a table hold several labels per image: separated in one column, or as 0 and 1 in several."""

    separator: str | None  # None: one column per class
    columns: tuple[str, ...] = ()  # the classes, if each has a column

    def labels(self, cell: str) -> list[str]:
        """Return the labels in a cell, or in the names of the columns with a 1, joined by newlines."""
        return [part for text in cell.split(self.separator or "\n") if (part := text.strip())]

    @property
    def told(self) -> str:
        """Return a description for messages."""
        return f"separated by {SEPARATOR_NAMES.get(self.separator, repr(self.separator))}" if self.separator else ""


def reading_of(match: Match, chosen: LabelColumns, values: Sequence[str], options: TaskOptions) -> Reading | None:
    """Return how the label columns hold several labels per image, or None if each image has exactly one.

    values: the label of each line, as in `TableLabels.values`. Raises DataError if the options and the table contradict
    each other, or if the cells of several columns are anything but 0 and 1.
    """
    if len(chosen.columns) == 1:
        header = match.header(chosen.columns[0])
        separator = options.label_separator or separator_of(values, header, options.kind)
        if separator is None and options.kind == "multi":
            separator = " "  # every image has one label: it does not matter
        return None if separator is None else Reading(separator)
    classes = tuple(match.header(column) for column in chosen.columns)
    _check_columns(match, chosen)
    if options.label_separator:
        raise DataError(
            f"the labels are in {len(classes)} columns of 0 and 1, so no separator is needed.",
            where=f"--label-separator {options.label_separator}",
            do="leave it out, or name the one column of labels: --label COLUMN",
        )
    has_one_each = {value.count("\n") + bool(value) for value in values} == {1}
    if options.kind == "single" and not has_one_each:
        several = next(value for value in values if value.count("\n") + bool(value) != 1)
        raise DataError(
            f"the columns {first_few(classes)} of {match.table.name} do not contain exactly one 1 per line; one line "
            f"has {several.count(chr(10)) + bool(several)}.",
            where="--kind single",
            do="leave out --kind single",
        )
    return None if has_one_each and options.kind != "multi" else Reading(None, classes)


def _check_columns(match: Match, chosen: LabelColumns) -> None:
    """Raise DataError for a cell of a class column that is neither 0 nor 1."""
    for column in chosen.columns:
        odd = sorted({*match.values(column)} - {"0", "1", "0.0", "1.0"})
        if odd:
            raise DataError(
                f'the column {match.shown(column)} has the value "{shown(odd[0])}".',
                where=match.table.name,
                expected="0 or 1 in the columns of several classes, for images without and with the class",
                do="write 0 or 1 into each cell, or name the columns of labels: --label A,B,C",
            )


def submission_separator(reading: Reading, cells: Sequence[str], values: Sequence[str], classes: Sequence[str]) -> str:
    """Return the text between the labels of a line: that of the sample if it has several, else that of `values`.

    Raises DataError if a class contains it.
    """
    known = {*classes}
    for cell in cells:
        for separator in (*([reading.separator] if reading.separator else []), *SEPARATORS):
            if separator in cell and {part.strip() for part in cell.split(separator)} <= known:
                return _spaced(separator, [cell])
    found = _spaced(reading.separator or " ", values)
    if odd := [name for name in classes if (found.strip() and found.strip() in name) or found in name]:
        raise DataError(
            f'the class "{shown(odd[0])}" contains "{found}", which separates the labels in a line of the submission.',
            where="--label-separator",
            expected="classes without the separator",
            do='name another one, such as --label-separator ";"',
        )
    return found


def _spaced(separator: str, values: Sequence[str]) -> str:
    """Return the separator with the space that follows it in all of these values."""
    several = [value for value in values if separator in value]
    is_spaced = (
        separator != " "
        and several
        and all(value.count(separator) == value.count(separator + " ") for value in several)
    )
    return separator + " " if is_spaced else separator


def refuse_several(options: TaskOptions) -> None:
    """Raise DataError if an option for several labels is used although each image has one, as in class folders."""
    if options.kind == "multi" or options.label_separator:
        raise DataError(
            "each image has exactly one label here.",
            where="--kind multi" if options.kind == "multi" else "--label-separator",
            expected="a table with several labels per image",
            do="leave the option out, or pass the table: --labels CSV",
        )
