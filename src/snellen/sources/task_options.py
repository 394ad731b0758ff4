"""TaskOptions: what the user decided about labels and answers."""

from dataclasses import dataclass

from snellen.errors import DataError, did_you_mean
from snellen.scoring.metrics import METRICS_OF_KIND
from snellen.task import FORMS, KINDS


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
    label_separator: str | None = None

    def check(self) -> None:
        """Raise DataError for an unknown kind, form or metric, or a separator of labels that have none."""
        if self.label_separator is not None and (self.kind == "single" or not self.label_separator):
            raise DataError(
                f'--label-separator is "{self.label_separator}"'
                + (", but with --kind single each value is one label." if self.label_separator else "."),
                where="--label-separator",
                expected="the text between several labels in one cell, such as a space",
                do="leave out one of the two options" if self.label_separator else "leave it out",
            )
        for option, value, known in (
            ("kind", self.kind, KINDS),
            ("form", self.form, FORMS),
            ("metric", self.metric, {name: "" for metrics in METRICS_OF_KIND.values() for name in metrics}),
        ):
            if value is not None and value not in known:
                meanings = (f"{name} ({text})" if text else name for name, text in known.items())
                raise DataError(
                    f'unknown {option} "{value}".',
                    where=f"--{option}",
                    expected=", ".join(meanings),
                    do=did_you_mean(value, known, "choose one of these"),
                )
