"""Derive the Task from labels and sample: the form of each line of the submission, the positive class, the metric."""

import logging
from collections.abc import Sequence

from snellen.errors import DataError, did_you_mean, some_of
from snellen.scoring.metrics import DEFAULT_METRIC, metric_of
from snellen.sources.columns import is_number
from snellen.sources.forms import SampleLines, class_named_by, form_of
from snellen.sources.label_lists import as_list
from snellen.sources.task_options import TaskOptions
from snellen.task import FORMS, Task

log = logging.getLogger("snellen")
# This many distinct numbers, with this few images each, may be amounts rather than classes.
MANY_NUMBERS, FEW_EACH = 30, 50
YES = ("1", "1.0", "yes", "true")


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

    labels: of kind "multi" the lists of labels as texts. is_named: the user named the label column, so its numbers are
    classes.
    """
    options.check()
    form = form_of(classes, kind, sample, options, is_named=is_named)
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
    metric = metric_of(options.metric or DEFAULT_METRIC[kind][form], kind).name
    allows_none = kind == "multi" and as_list(()) in labels
    return Task(classes, kind, form, metric, positive, display_names, allows_none=allows_none)


def _refuse_regression(labels: Sequence[str], classes: tuple[str, ...]) -> None:
    """Raise DataError for numbers that are not classes, and warn about those that may be amounts."""
    numbers = {name: name.removesuffix("%").strip().replace(",", ".") for name in classes}
    if not all(map(is_number, numbers.values())):
        return
    fractional = next((name for name, number in numbers.items() if not float(number).is_integer()), None)
    many = len(labels) >= 10 and len(classes) > len(labels) / 2
    if fractional is None and not many:
        if len(classes) > MANY_NUMBERS and len(labels) < FEW_EACH * len(classes):
            log.warning(
                "the labels are %d different numbers, and each is treated as a class of its own; if they are amounts, "
                "such as ages or counts, this is regression, which snellen does not support",
                len(classes),
            )
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
    if sample and sample.columns and (named := class_named_by(classes, sample.columns[0])):
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
