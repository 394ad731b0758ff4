"""The metrics by name: the only list of them, with inputs, direction, interval, form of a submission and display."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from snellen.errors import DataError, SnellenError, did_you_mean, first_few
from snellen.scoring import several_labels as several
from snellen.scoring.formulas import (
    accuracy,
    auc,
    auc_effects,
    auc_interval,
    balanced_accuracy,
    f1_macro,
    f1_micro,
    log_loss,
    log_losses,
    map_at_5,
    mcc,
    precisions_at_5,
    qwk,
)
from snellen.scoring.intervals import (
    RESAMPLES,
    Interval,
    bias_corrected,
    bootstrap_interval,
    bootstrap_mean,
    resamples,
    wilson_interval,
)
from snellen.system.units import percent, percents, points


@dataclass(frozen=True)
class Measured:
    """The value of a metric with its 95% interval; nan if it is undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Metric:
    """A metric with its inputs, its direction, its interval and its display."""

    name: str  # the value of --metric
    function: Callable[..., float]  # (labels, answers) -> value
    interval: Callable[..., Interval]  # (labels, answers), or the effects if there are any -> 95% interval
    needs: str = "labels"  # what a submission contains: "labels", "probabilities" or a "ranking" of five labels
    greater_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)  # the lowest and the highest value
    unit: str = ""  # for display: "%", "nats", or "" for a plain number
    is_ordinal: bool = False  # the classes must be numbers in ascending order
    effects: Callable[..., np.ndarray] | None = None  # (labels, answers) -> float (N,), by image; the mean is the value
    takes_weights: bool = False  # whether the function takes the number of times that each image counts
    form: str = "label"  # of a submission that can be scored by it; a key of task.FORMS
    default_of: tuple[str, ...] = ()  # the forms of a submission that are scored by it by default

    @property
    def column(self) -> str:
        """The column of metrics.jsonl with its validation score."""
        return f"valid_{self.name}"

    @property
    def is_shown_anyway(self) -> bool:
        """Whether tables of epochs have a column for it in any case: accuracy, and the loss on validation images."""
        return METRICS.get(self.name) is self and self.name in ("accuracy", "log_loss")

    @property
    def title(self) -> str:
        """The name with the unit, for the axis of a figure."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def scale(self) -> float:
        """The factor from values to the numbers on the axis of a figure."""
        return 100.0 if self.unit == "%" else 1.0

    def value(self, labels: np.ndarray, probabilities: np.ndarray, decided: np.ndarray) -> float:
        """Return the metric of labels, probabilities (N, K) and the labels decided on.

        Labels are int (N,), or bool (N, K) if images have several.
        """
        return float(self.function(labels, self.answers(probabilities, decided)))

    def answers(self, probabilities: np.ndarray, decided: np.ndarray) -> np.ndarray:
        """Return what the metric scores: the labels decided on, or the probabilities."""
        return decided if self.needs == "labels" else probabilities

    def measure(self, labels: np.ndarray, probabilities: np.ndarray, decided: np.ndarray) -> Measured:
        """Return the value with its interval."""
        answers = self.answers(probabilities, decided)
        if self.effects is not None:
            effects = self.effects(labels, answers)
            value, (low, high) = float(effects.mean()), self.interval(effects)
        else:
            value, (low, high) = float(self.function(labels, answers)), self.interval(labels, answers)
        least, greatest = self.bounds
        if low == high and math.isfinite(greatest - least):
            # A bootstrap of identical images gives an interval of width 0. Wilson's interval for N of N does not.
            doubt = 1 - wilson_interval(len(labels), len(labels))[0]
            low, high = max(value - doubt, least), min(value + doubt, greatest)
        return Measured(value, low, high)

    def is_better(self, value: float, other: float) -> bool:
        """Return whether a value is better than another. Any value beats an undefined one."""
        if math.isnan(value) or math.isnan(other):
            return math.isnan(other) and not math.isnan(value)
        return value > other if self.greater_is_better else value < other

    def show(self, value: float | None) -> str:
        """Return a value for display: "89.55%", "0.3456 nats", "0.8123"."""
        if value is None or math.isnan(value):
            return "undefined"
        return percent(value) if self.unit == "%" else f"{value:.4f} {self.unit}".rstrip()

    def show_interval(self, low: float | None, high: float | None) -> str:
        """Return an interval for display: "81.04 to 85.20%", "0.8012 to 0.8233"."""
        if low is None or high is None or math.isnan(low):
            return "undefined"
        return percents(low, high) if self.unit == "%" else f"{low:.4f} to {self.show(high)}"

    def show_difference(self, difference: float) -> str:
        """Return a difference for display, in percentage points or the metric's unit: "+0.52", "-0.0123"."""
        if math.isnan(difference):
            return "undefined"
        return points(difference) if self.unit == "%" else f"{difference:+.4f}"


def _share_interval(labels: np.ndarray, decided: np.ndarray) -> Interval:
    return wilson_interval(int((labels == decided).sum()), len(labels))


def _label_interval(function: Callable[..., float], labels: np.ndarray, decided: np.ndarray) -> Interval:
    """Bootstrap a metric of decided labels, with one entry for all images with the same label and answer."""
    cells, counts = np.unique(np.stack([labels, decided]), axis=1, return_counts=True)
    return bootstrap_interval(lambda sample: function(cells[0], cells[1], sample), counts)


def _rows_interval(function: Callable[..., float], labels: np.ndarray, probabilities: np.ndarray) -> Interval:
    """Bootstrap a function without weights, on fewer samples because it may be slow."""

    def score_of(sample: np.ndarray) -> float:
        rows = np.repeat(np.arange(len(labels)), sample)
        return float(function(labels[rows], probabilities[rows]))

    return bootstrap_interval(score_of, np.ones(len(labels), dtype=np.int64), RESAMPLES // 5)


def _of_labels(function: Callable[..., float], **facts: Any) -> Metric:
    return Metric(function.__name__, function, partial(_label_interval, function), takes_weights=True, **facts)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, _share_interval, unit="%", default_of=("label",)),
        _of_labels(balanced_accuracy, unit="%"),
        Metric(
            "log_loss",
            log_loss,
            bootstrap_mean,
            needs="probabilities",
            greater_is_better=False,
            bounds=(0.0, math.inf),
            unit="nats",
            effects=log_losses,
            form="positive",
            default_of=("positive", "columns"),
        ),
        Metric("auc", auc, auc_interval, needs="probabilities", effects=auc_effects, form="positive"),
        _of_labels(f1_macro),
        Metric("f1_micro", f1_micro, _share_interval, takes_weights=True),
        _of_labels(qwk, bounds=(-1.0, 1.0), is_ordinal=True),
        Metric(
            "map@5",
            map_at_5,
            bootstrap_mean,
            needs="ranking",
            effects=precisions_at_5,
            form="top5",
            default_of=("top5",),
        ),
        _of_labels(mcc, bounds=(-1.0, 1.0)),
    )
}


def _of_images(function: Callable[..., float], each: Callable[..., np.ndarray], **facts: Any) -> Metric:
    """Return a metric that is the mean of one value per image, `each`."""
    return Metric(function.__name__, function, bootstrap_mean, effects=each, **facts)


def _of_sums(function: Callable[..., float]) -> Metric:
    """Return a metric of several labels that takes weights."""

    def interval(labels: np.ndarray, decided: np.ndarray) -> Interval:
        values = [function(labels, decided, sample) for sample in resamples(len(labels))]
        return bias_corrected(function(labels, decided), np.array(values))

    return Metric(function.__name__, function, interval, takes_weights=True)


# The metrics of images with several labels. Those of one label with the same name are their special cases.
MULTI_METRICS = {
    metric.name: metric
    for metric in (
        _of_images(several.f1_samples, several.f_of_images, form="labels", default_of=("labels",)),
        _of_images(several.f2_samples, lambda labels, decided: several.f_of_images(labels, decided, 2.0)),
        _of_sums(several.f1_macro),
        _of_sums(several.f1_micro),
        Metric(
            "exact_match",
            several.exact_match,
            lambda right: wilson_interval(int(right.sum()), len(right)),
            unit="%",
            effects=several.exact_matches,
        ),
        _of_images(
            several.hamming_loss,
            lambda labels, decided: (labels != decided).mean(axis=1),
            greater_is_better=False,
        ),
        Metric("auc", auc, auc_interval, needs="probabilities", effects=auc_effects, default_of=("columns",)),
        Metric(
            "map",
            several.mean_average_precision,
            several.mean_average_precision_interval,
            needs="probabilities",
        ),
        _of_images(
            several.mean_log_loss,
            lambda labels, probabilities: several.log_losses(labels, probabilities) / labels.shape[1],
            needs="probabilities",
            greater_is_better=False,
            bounds=(0.0, math.inf),
            unit="nats",
        ),
    )
}
METRICS_OF_KIND = {"single": METRICS, "multi": MULTI_METRICS}
# kind -> form of a submission -> the name of its metric, if the user names none
DEFAULT_METRIC = {
    kind: {form: metric.name for metric in metrics.values() for form in metric.default_of}
    for kind, metrics in METRICS_OF_KIND.items()
}

MetricLike = str | Metric | Callable[[np.ndarray, np.ndarray], float]


def metric_of(metric: MetricLike, kind: str = "single") -> Metric:
    """Return the Metric for a name, a callable or a Metric. kind: that of the Task, "single" or "multi".

    For a callable (labels, probabilities) -> float, higher values are better; for the opposite, or to score decided
    labels, pass a Metric. A callable needs a name of its own, because runs and studies store the name and not the code.
    Raises SnellenError for an unknown name, and for a callable without one.
    """
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        name = getattr(metric, "__name__", "")
        if not name.isidentifier() or name in (*METRICS, "loss"):
            raise SnellenError(
                f'the function "{name}" cannot be stored as a metric: its name belongs to another score.'
                if name.isidentifier()
                else "this metric is a function without a name, so a resumed run could not recognize it.",
                where="metric",
                expected="a function (labels, probabilities) -> float with a name of its own",
                do="define it with `def`, under a name that is not in snellen.scoring.metrics.METRICS",
            )
        bounds = (-math.inf, math.inf)
        return Metric(name, metric, partial(_rows_interval, metric), needs="probabilities", bounds=bounds)
    known = METRICS_OF_KIND[kind]
    if metric not in known:
        is_other = any(metric in metrics for metrics in METRICS_OF_KIND.values())
        labels = {"single": "one label", "multi": "several labels"}[kind]
        raise SnellenError(
            f'the metric "{metric}" does not apply to {labels} per image.'
            if is_other
            else f'unknown metric "{metric}".',
            where=f"--metric {metric}",
            expected=", ".join(known),
            do=did_you_mean(metric, known, "choose one of these"),
        )
    return known[metric]


def stored(metric: Metric) -> dict[str, Any]:
    """Return what runs, cross-validations and studies store of a metric, for `stored_metric`."""
    return {"metric": metric.name, "greater_is_better": metric.greater_is_better}


def stored_metric(about: Mapping[str, Any]) -> Metric:
    """Return the metric that a run, a cross-validation or a study was stored with; by default accuracy.

    If it was a function, stored values can be shown and compared, but computing it raises SnellenError.
    """
    name = str(about.get("metric", "accuracy"))
    for known in METRICS_OF_KIND.values():  # metrics of both kinds with the same name are displayed alike
        if name in known:
            return known[name]

    def missing(labels: np.ndarray, answers: np.ndarray) -> Any:
        raise SnellenError(
            f'"{name}" is a Python function, which is not stored in a run.',
            where="metric",
            expected="the function itself, or one of " + ", ".join(METRICS),
            do=f"pass it in Python: metric={name}, or choose another metric with --metric",
        )

    is_greater = bool(about.get("greater_is_better", True))
    return Metric(name, missing, missing, needs="probabilities", greater_is_better=is_greater)


def check_metric(metric: Metric, classes: Sequence[str]) -> None:
    """Raise DataError if the metric needs ordered classes and these are not ascending, evenly spaced numbers."""
    if not metric.is_ordinal:
        return
    try:
        steps = np.diff([float(name) for name in classes])
    except ValueError:
        steps = np.array([])
    if not len(steps) or steps[0] <= 0 or not np.allclose(steps, steps[0]):
        raise DataError(
            f"{metric.name} needs ordered classes; these are {first_few(classes)}.",
            where=f"--metric {metric.name}",
            expected="numbers in ascending order and evenly spaced, such as 0, 1, 2, 3, 4",
            do="label the images with numbers, or choose another metric",
        )
