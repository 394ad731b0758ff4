"""The values in a line of a submission, for each form of answer: how to write and how to check them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snellen.errors import some_of
from snellen.images.imageset import ImageSet
from snellen.scoring.metrics import metric_of
from snellen.task import Task

TOP = 5  # labels in a line of form top5


@dataclass(frozen=True)
class Answer:
    """The rule that turns probabilities into the values of a line."""

    task: Task
    header: Sequence[str]  # of the submission
    id_column: int = 0

    @property
    def _columns(self) -> list[int]:
        return [self.task.classes.index(name) for name in self.without_id(self.header)]

    def without_id(self, line: Sequence[str]) -> list[str]:
        """Return the values of a line without its id."""
        return [*line[: self.id_column], *line[self.id_column + 1 :]]

    def line(self, id: str, values: Sequence[str]) -> list[str]:
        """Return a line of the submission."""
        return [*values[: self.id_column], id, *values[self.id_column :]]

    @property
    def has_decisions(self) -> bool:
        """Whether the columns of several labels contain 0 and 1: the metric needs labels, not probabilities."""
        return self.task.has_several and metric_of(self.task.metric, self.task.kind).needs == "labels"

    def values(self, probabilities: np.ndarray, labels: Sequence[str]) -> list[str]:
        """Return the values for one image. probabilities: (K,), calibrated; labels: the chosen classes."""
        task = self.task
        if task.form == "labels":
            return [task.separator.join(labels)]
        if task.form == "columns" and self.has_decisions:
            return [str(int(name in labels)) for name in self.without_id(self.header)]
        if task.form == "columns":
            return [f"{probabilities[column]:.9g}" for column in self._columns]
        if task.form == "positive":
            assert task.positive is not None, "a task of this form has a positive class"
            return [f"{probabilities[task.classes.index(task.positive)]:.9g}"]
        if task.form == "top5":
            best = [task.classes[k] for k in np.argsort(-np.asarray(probabilities), kind="stable")[:TOP]]
            return [" ".join([*labels, *(name for name in best if name not in labels)][:TOP])]
        return [*labels]

    def problem(self, values: Sequence[str]) -> tuple[str, str] | None:
        """Return (what is wrong with the values of a line, what was expected), or None if they are valid."""
        form, classes = self.task.form, self.task.classes
        if form in ("columns", "positive"):
            if not all(map(_is_probability, values)):
                return "a value is not a probability", "numbers from 0 to 1"
        elif form == "top5":
            names = values[0].split(" ")
            if len(names) != min(TOP, len(classes)) or len({*names}) < len(names) or not {*names} <= {*classes}:
                most = min(TOP, len(classes))
                return f'"{values[0][:60]}" does not name {most} different classes', f"{most} of {some_of(classes, 10)}"
        elif form == "labels":
            names = values[0].split(self.task.separator) if values[0] else []
            if len({*names}) < len(names) or not {*names} <= {*classes}:
                expected = f"different classes of {some_of(classes, 10)}, separated by {self.task.separator!r}"
                return f'"{values[0][:60]}" is not a list of classes', expected
            if not names and not self.task.allows_none:
                return "there is no label", "at least one, as every training image has"
        elif values[0] not in classes:
            return f'"{values[0]}" is not a class', f"one of {some_of(classes, 10)}"
        return None


def shares(images: ImageSet) -> np.ndarray:
    """Return the share of the labelled images that have each class: (K,)."""
    found = np.array([images.about["class_counts"][name] for name in images.classes], dtype=np.float64)
    num = int((images.splits != "test").sum())
    return found / (num if images.task.has_several else found.sum())


def _is_probability(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
