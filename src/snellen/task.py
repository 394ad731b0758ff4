"""Task: what a model predicts and how it is scored. Plain data, stored in prepared images and in model files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KINDS = {"single": "one label per image", "multi": "several labels per image"}
# What each line of the submission contains after the id.
FORMS = {
    "label": "one label per line",
    "positive": "the probability of one class",
    "columns": "one probability per class column",
    "top5": "five labels per line, best first",
    "labels": "several labels per line",
}
FORMS_OF_KIND = {"single": ("label", "positive", "columns", "top5"), "multi": ("labels", "columns")}


@dataclass(frozen=True)
class Task:
    """The classes, the number of labels per image, the metric and the form of the submission."""

    classes: tuple[str, ...]  # K names, in the order of labels and of the columns of probabilities
    kind: str = "single"  # a key of KINDS
    form: str = "label"  # a key of FORMS
    metric: str = "accuracy"  # the name of a metric in `scoring`
    positive: str | None = None  # form "positive": the class whose probability is submitted
    display_names: tuple[str, ...] | None = None  # K readable names, if the classes are numbers or codes
    separator: str = " "  # kind "multi": between the labels of a line
    allows_none: bool = False  # kind "multi": some labelled images have no label

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.form not in FORMS or not isinstance(self.metric, str):
            raise ValueError(f"task of kind {self.kind!r}, form {self.form!r}, metric {self.metric!r}")
        if self.form not in FORMS_OF_KIND[self.kind]:
            raise ValueError(f"form {self.form!r} for images with {KINDS[self.kind]}")
        if not isinstance(self.separator, str) or not self.separator or not isinstance(self.allows_none, bool):
            raise ValueError(f"separator {self.separator!r}, allows_none {self.allows_none!r}")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(f"the positive class {self.positive!r} is not a class")
        if self.form == "positive" and self.positive is None:
            raise ValueError("form 'positive' without a positive class")
        if self.display_names is not None and len(self.display_names) != len(self.classes):
            raise ValueError(f"{len(self.display_names)} display names for {len(self.classes)} classes")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the classes for people: the display names if there are any. Files keep the classes."""
        return self.display_names or self.classes

    def display(self, name: str) -> str:
        """Return the name of a class for people."""
        return self.names[self.classes.index(name)]

    @property
    def has_several(self) -> bool:
        """Whether an image can have several labels, or none: labels and decisions are then bool (N, K)."""
        return self.kind == "multi"

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the classes, as JSON values."""
        values: dict[str, Any] = {"kind": self.kind, "form": self.form, "metric": self.metric}
        if self.positive is not None:
            values["positive"] = self.positive
        if self.display_names is not None:
            values["display_names"] = list(self.display_names)
        if self.has_several:
            values |= {"separator": self.separator, "allows_none": self.allows_none}
        return values

    @classmethod
    def from_dict(cls, classes: Sequence[str], values: Mapping[str, Any] | None) -> "Task":
        """Return the task stored by `to_dict`; by default single, label, accuracy. Raises ValueError or TypeError."""
        values = dict(values or {})
        names = values.pop("display_names", None)
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise TypeError("display_names is not a list of names")
        facts = ("kind", "form", "metric", "positive", "separator", "allows_none")
        known = {name: values[name] for name in facts if name in values}
        return cls(tuple(classes), display_names=None if names is None else tuple(names), **known)
