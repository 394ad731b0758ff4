"""Derive the Task from labels and sample: labels per image, and the contents of each line of the submission."""

import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from snellen.errors import DataError, did_you_mean, first_few, some_of
from snellen.scoring.metrics import METRICS
from snellen.sources.columns import is_number
from snellen.sources.names import CONTROL, MAX_LETTERS, shown
from snellen.sources.roles import words_of
from snellen.sources.tables import Table
from snellen.task import DEFAULT_METRIC, FORMS, KINDS, Task

log = logging.getLogger("snellen")
YES = ("1", "1.0", "yes", "true")
PLURALS = {"labels", "tags", "classes", "attributes", "diseases", "findings"}
SEPARATORS = (";", "|", ",", " ")
# The form that a metric needs if the sample does not decide it.
FORM_OF_METRIC = {"auc": "positive", "log_loss": "positive", "map@5": "top5"}


@dataclass(frozen=True)
class TaskOptions:
    """The choices of the user; None means detect."""

    label: str | None = None
    id: str | None = None
    kind: str | None = None
    form: str | None = None
    metric: str | None = None
    positive: str | None = None
    class_names: str | None = None
    group_by: str | None = None

    def check(self) -> None:
        """Raise DataError for an unknown kind, form or metric."""
        for option, value, known in (
            ("kind", self.kind, KINDS),
            ("form", self.form, FORMS),
            ("metric", self.metric, dict.fromkeys(METRICS, "")),
        ):
            if value is not None and value not in known:
                meanings = (f"{name} ({text})" if text else name for name, text in known.items())
                raise DataError(
                    f'unknown {option} "{value}".',
                    where=f"--{option}",
                    expected=", ".join(meanings),
                    do=did_you_mean(value, known, "choose one of these"),
                )


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


def refuse_multi(task: Task, what: str) -> None:
    """Raise DataError for a task with several labels per image."""
    if task.kind == "multi":
        raise DataError(
            f"the images have several labels each: {what}.",
            where="",
            expected=f"one label per image (here the labels are {some_of(task.classes, 6)})",
            do="this version trains on one label per image; if each value is one label, pass --kind single",
        )


def decide_task(
    labels: Sequence[str],
    classes: tuple[str, ...],
    sample: SampleLines | None,
    options: TaskOptions,
    *,
    kind: str = "single",
    display_names: tuple[str, ...] | None = None,
    is_named: bool = False,
) -> Task:
    """Return the Task for these training labels and this sample. Raises DataError for regression or contradictions.

    is_named: the user named the label column, so its numbers are classes.
    """
    options.check()
    form = _form(classes, kind, sample, options, is_named=is_named)
    if kind == "single" and not is_named and form not in ("top5", "columns"):
        _refuse_regression(labels, classes)
    positive = None
    if form == "positive":
        positive = _positive(classes, sample, options.positive)
    elif options.positive is not None:
        raise DataError(
            f'--positive is "{options.positive}", but each line of the submission contains {FORMS[form]}.',
            where="--positive",
            do="leave out --positive, or submit its probability: --form positive",
        )
    metric = options.metric or DEFAULT_METRIC[form]
    return Task(classes, kind, form, metric, positive, display_names)


def _form(
    classes: tuple[str, ...], kind: str, sample: SampleLines | None, options: TaskOptions, *, is_named: bool
) -> str:
    wanted = options.form
    if wanted == "positive" and len(classes) != 2:
        raise DataError(
            f"form positive needs exactly two classes; there are {len(classes)} classes.",
            where="--form",
            expected="label, columns or top5",
            do="choose another form, or check the labels",
        )
    if sample is None or not sample.columns:
        by_metric = FORM_OF_METRIC.get(options.metric or "", "label")
        if by_metric == "positive" and len(classes) != 2:
            by_metric = "columns"
        return wanted or ("labels" if kind == "multi" else by_metric)
    if len(sample.columns) > 1:
        _check_columns(classes, sample)
        return _agreed("columns", wanted, f"{sample.name} has one column per class")
    cells = sample.distinct
    if kind == "multi":
        return wanted or "labels"
    if cells and all(len(cell.split()) == 5 for cell in cells) and not cells <= {*classes}:
        return _agreed("top5", wanted, f"{sample.name} has five labels in each line")
    if wanted:
        return wanted
    wish = FORM_OF_METRIC.get(options.metric or "")
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
    if is_share and (fractional or _names_class(classes, sample.columns[0])):
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
        log.warning('%s spells classes differently: "%s"; lines get the training labels', sample.name, example)
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


def _refuse_regression(labels: Sequence[str], classes: tuple[str, ...]) -> None:
    if not all(map(is_number, classes)):
        return
    fractional = next((name for name in classes if not float(name).is_integer()), None)
    many = len(labels) >= 10 and len(classes) > len(labels) / 2
    if fractional is None and not many:
        return
    what = (
        f'the labels are numbers with fractions, such as "{fractional}"'
        if fractional
        else f"the labels are numbers, with {len(classes):,} distinct values for {len(labels):,} images"
    )
    raise DataError(
        f"{what}: this is regression.",
        expected="classes, each with several images",
        do="snellen only classifies; if each number is a class, name the column: --label COLUMN",
    )


def _names_class(classes: Sequence[str], column: str) -> str | None:
    """Return the class that a column is named after: "malignant", "is_dog"."""
    by_form = {plain_form(name): name for name in classes if not is_number(name)}
    if plain_form(column) in by_form:
        return by_form[plain_form(column)]
    named = [name for form, name in by_form.items() if form in words_of(column)]
    return named[0] if len(named) == 1 else None


def _positive(classes: tuple[str, ...], sample: SampleLines | None, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in classes:
            raise DataError(
                f'"{wanted}" is not a class.',
                where="--positive",
                expected=f"one of {some_of(classes)}",
                do=did_you_mean(wanted, classes, "name one of these"),
            )
        return wanted
    if sample and sample.columns and (named := _names_class(classes, sample.columns[0])):
        return named
    if yes := [name for word in YES for name in classes if name.lower() == word]:
        return yes[0]
    last = max(classes)
    others = ", ".join(name for name in classes if name != last)
    log.warning(
        'no positive class was chosen: the submission contains the probability of "%s", the last in sorted order; '
        "for the other class pass --positive %s",
        last,
        others,
    )
    return last


def probability_hint(task: Task, cells: set[str]) -> str:
    """Return a hint if the sample's whole numbers could be labels or probabilities, otherwise ""."""
    if task.form != "label" or len(task.classes) != 2 or not cells or not cells <= {"0", "1"}:
        return ""
    return (
        "the sample contains whole numbers, which could be labels or probabilities: labels are submitted; if the "
        "competition is scored by AUC or log-loss, run `snellen prepare` or `snellen compete` again with "
        "--metric auc or --metric log_loss"
    )


def plain_form(name: str) -> str:
    """Return a label without case, spaces, invisible characters and Unicode composition; 1.0 becomes 1."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cf", "Zs") and letter != "_")
    return f"{float(text):g}" if is_number(text) and len(text) < 16 else text


def warn_of_variants(labels: Sequence[str]) -> None:
    """Warn about labels that look the same to a reader: "Cat" and "cat", "1" and "1.0"."""
    counts = Counter(labels)
    groups: dict[str, list[str]] = {}
    for name in counts:
        groups.setdefault(plain_form(name), []).append(name)
    for names in [names for names in groups.values() if len(names) > 1][:5]:
        told = ", ".join(
            f"{json.dumps(name, ensure_ascii=not name.isprintable())} ({counts[name]:,})" for name in names
        )
        log.warning("labels that look alike are different classes: %s; correct them if they mean the same thing", told)


def read_class_names(name: str, data: bytes, table: Table | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return a display name for each class, from JSON ({"0": "blight"} or a list) or a CSV of class and name.

    Raises DataError if a class has no name.
    """

    def wrong(what: str) -> DataError:
        return DataError(
            what,
            where=name,
            expected='JSON such as {"0": "blight"}, or a CSV with a column of classes and a column of names',
            do="pass the right file: --class-names FILE",
        )

    if table is None:
        try:
            values = json.loads(data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as problem:
            raise wrong(f"the class names cannot be read: {problem}.") from None
        if isinstance(values, list):
            values = {str(number): text for number, text in enumerate(values)}
        if not isinstance(values, dict):
            raise wrong("the class names are neither an object nor a list.")
        names = {str(key): str(text) for key, text in values.items() if isinstance(text, str | int | float)}
    else:
        column = next((c for c in range(table.width) if {*classes} <= {*table.column(c)}), None)
        other = next((c for c in range(table.width) if c != column), None)
        if column is None or other is None:
            raise wrong(f"no column of the class names contains all {len(classes)} classes.")
        names = dict(zip(table.column(column), table.column(other), strict=True))
    if missing := [known for known in classes if not names.get(known)]:
        raise wrong(f"{len(missing)} of {len(classes)} classes have no name, first {first_few(missing)}.")
    found = tuple(names[known] for known in classes)
    if any(len(text) > MAX_LETTERS or CONTROL.search(text) for text in found):
        raise wrong("a class name contains control characters or is too long.")
    return found
