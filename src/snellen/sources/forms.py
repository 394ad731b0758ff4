"""Detect the form of a submission's line: one label, a probability, one column per class, five labels."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from snellen.errors import DataError, first_few, some_of
from snellen.scoring.metrics import metric_of
from snellen.sources.class_names import plain_form
from snellen.sources.columns import is_number
from snellen.sources.names import shown
from snellen.sources.roles import words_of
from snellen.sources.tables import Table
from snellen.sources.task_options import TaskOptions
from snellen.task import FORMS, FORMS_OF_KIND, KINDS

log = logging.getLogger("snellen")


@dataclass(frozen=True)
class SampleLines:
    """A sample submission without its ids."""

    name: str
    columns: tuple[str, ...]  # the header after the id, or column numbers if there is no header
    cells: list[tuple[str, ...]]

    @classmethod
    def of(cls, table: Table, column: int, first: int) -> "SampleLines":
        """Return the values of a table without its id column."""
        others = [c for c in range(table.width) if c != column]
        names = tuple(table.column_name(c) if first else str(c + 1) for c in others)
        values = [tuple(row[c] if c < len(row) else "" for c in others) for _, row in table.lines[first:]]
        return cls(table.name.rpartition("/")[2], names, values)

    @property
    def distinct(self) -> set[str]:
        """Return the distinct non-empty values of a sample with one value per line."""
        return {row[0] for row in self.cells if row} - {""}


def form_of(
    classes: tuple[str, ...], kind: str, sample: SampleLines | None, options: TaskOptions, *, is_named: bool
) -> str:
    """Return the form of a line: from the sample, the options, or the metric. Raises DataError for contradictions."""
    wanted = options.form
    if wanted is not None and wanted not in FORMS_OF_KIND[kind]:
        raise DataError(
            f"form {wanted} means {FORMS[wanted]}, but the images have {KINDS[kind]}.",
            where="--form",
            expected=" or ".join(FORMS_OF_KIND[kind]),
            do="leave out --form, or choose the kind: --kind single or --kind multi",
        )
    if wanted == "positive" and len(classes) != 2:
        raise DataError(
            f"form positive needs exactly two classes; there are {len(classes)} classes.",
            where="--form",
            expected="label, columns or top5",
            do="choose another form, or check the labels",
        )
    if sample is None or not sample.columns:
        if kind == "multi":
            needs = metric_of(options.metric, kind).needs if options.metric else "labels"
            return wanted or {"labels": "labels", "probabilities": "columns"}[needs]
        by_metric = metric_of(options.metric, kind).form if options.metric else "label"
        if by_metric == "positive" and len(classes) != 2:
            by_metric = "columns"
        return wanted or by_metric
    if len(sample.columns) > 1:
        _check_columns(classes, sample)
        return _agreed("columns", wanted, f"{sample.name} has one column per class")
    cells = sample.distinct
    if kind == "multi":
        return _agreed("labels", wanted, f"{sample.name} has one column of labels")
    if cells and all(len(cell.split()) == 5 for cell in cells) and not cells <= {*classes}:
        return _agreed("top5", wanted, f"{sample.name} has five labels in each line")
    if wanted:
        return wanted
    wish = metric_of(options.metric, kind).form if options.metric else ""
    if wish == "top5" or (wish == "positive" and len(classes) == 2 and all(map(is_number, cells))):
        return wish
    return _form_of_cells(classes, sample, cells, is_named=is_named)


def _agreed(form: str, wanted: str | None, why: str) -> str:
    if wanted not in (None, form):
        raise DataError(
            f"--form is {wanted}, but {why}.",
            where="--form",
            expected=f"form {form}",
            do="leave out --form, or pass another sample: --sample CSV",
        )
    return form


def _check_columns(classes: tuple[str, ...], sample: SampleLines) -> None:
    if sorted(sample.columns) == sorted(classes):
        return
    absent = sorted({*classes} - {*sample.columns})
    extra = sorted({*sample.columns} - {*classes})
    told = [f"{len(absent)} classes have no column, first {first_few(map(shown, absent))}"] if absent else []
    told += [f"{len(extra)} columns are not classes, first {first_few(map(shown, extra))}"] if extra else []
    raise DataError(
        f"the columns of {sample.name} and the classes do not match: {'; '.join(told) or 'a column is repeated'}.",
        where=sample.name,
        expected=f"an id and a label, or an id and one column per class ({some_of(classes)})",
        do="pass the right sample (--sample CSV) or the right labels (--label COLUMN, --labels CSV)",
    )


def _form_of_cells(classes: tuple[str, ...], sample: SampleLines, cells: set[str], *, is_named: bool) -> str:
    """Return the form of a sample with one value per line, if no option decides it."""
    names = {*classes}
    numbers = [float(cell) for cell in cells if is_number(cell)]
    if not cells or cells <= names:
        return "label"
    example = shown(next(iter(sorted(cells - names))))
    if len(numbers) < len(cells):
        _check_spelling(classes, sample, cells)
        return "label"
    fractional = any(not number.is_integer() for number in numbers)
    is_share = len(classes) == 2 and all(0 <= number <= 1 for number in numbers)
    if is_share and (fractional or class_named_by(classes, sample.columns[0])):
        return "positive"
    if fractional or (any("." in cell for cell in cells) and not _same_numbers(names, cells)):
        if is_named:
            log.warning('%s has values such as "%s", which is not a class', sample.name, example)
            return "label"
        raise DataError(
            f'{sample.name} has the value "{example}", which is not a training label.',
            where=f'{sample.name}, column "{shown(sample.columns[0])}"',
            expected=f"a class ({some_of(classes)}), or for two classes a probability",
            do="predicting a number is regression, which snellen does not support; if the labels are classes, "
            "name their column: --label COLUMN",
        )
    if _same_numbers(names, cells):
        log.warning('%s spells classes differently: "%s"; the training labels are submitted', sample.name, example)
        return "label"
    if any(is_number(name) for name in names):
        log.warning('%s has values such as "%s", which is not a class', sample.name, example)
        return "label"
    last = max(classes)
    as_probability = f", or with the probability of {last}: --form positive --positive {last}"
    raise DataError(
        f'{sample.name} has the value "{example}", but the classes are {some_of(classes)}.',
        where=f'{sample.name}, column "{shown(sample.columns[0])}"',
        expected="labels that are classes",
        do=f"choose the form of a line: --form label for names such as {classes[0]}"
        + (as_probability if len(classes) == 2 else ""),
    )


def _same_numbers(names: set[str], cells: set[str]) -> bool:
    known = {float(name) for name in names if is_number(name)}
    return all(float(cell) in known for cell in cells)


def _check_spelling(classes: tuple[str, ...], sample: SampleLines, cells: set[str]) -> None:
    """Raise DataError for labels that differ from a class only by case or spaces; warn about other unknown labels."""
    by_form = {plain_form(name): name for name in classes}
    unknown = sorted(cells - {*classes})
    if several := next((cell for cell in unknown if len(cell.split()) > 1 and {*cell.split()} <= {*classes}), None):
        raise DataError(
            f'{sample.name} has {len(several.split())} labels in a line: "{shown(several)}".',
            where=f'{sample.name}, column "{shown(sample.columns[0])}"',
            expected="one label in each line, or five, best first",
            do="pass --form label or --form top5",
        )
    if variant := next((cell for cell in unknown if plain_form(cell) in by_form), None):
        raise DataError(
            f'{sample.name} has the label "{shown(variant)}", but the training labels have '
            f'"{shown(by_form[plain_form(variant)])}".',
            where=f'{sample.name}, column "{shown(sample.columns[0])}"',
            expected="the same spelling in both",
            do="change the training labels, or keep their spelling: --form label",
        )
    log.warning(
        "%s has %d labels that are not classes, first %s; the submission will contain classes such as %s: check which "
        "ones the competition expects",
        sample.name,
        len(unknown),
        first_few(map(shown, unknown)),
        classes[0],
    )


def class_named_by(classes: Sequence[str], column: str) -> str | None:
    """Return the class that a column is named after: "malignant", "is_dog"."""
    by_form = {plain_form(name): name for name in classes if not is_number(name)}
    if plain_form(column) in by_form:
        return by_form[plain_form(column)]
    named = [name for form, name in by_form.items() if form in words_of(column)]
    return named[0] if len(named) == 1 else None
