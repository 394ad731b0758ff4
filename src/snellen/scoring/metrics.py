"""The metrics by name, each with its inputs, its direction and its interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from snellen.errors import DataError, SnellenError, did_you_mean, first_few
from snellen.scoring import several_labels as several
from snellen.scoring.formulas import (
    accuracy,
    auc,
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
from snellen.system.units import percent


@dataclass(frozen=True)
class Measured:
    """The value of a metric with its 95% interval; nan if it is undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Metric:
    """A metric with its inputs, its direction and its interval."""

    name: str  # the value of --metric
    function: Callable[..., float]  # (labels, answers) -> value
    interval: Callable[..., Interval]  # (labels, answers) -> 95% interval
    needs: str = "labels"  # what a submission contains: "labels", "probabilities" or a "ranking" of five labels
    greater_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)  # the lowest and the highest value
    unit: str = ""  # for display: "%", "nats", or "" for a plain number
    is_ordinal: bool = False  # the classes must be numbers in ascending order

    def value(self, labels: np.ndarray, probabilities: np.ndarray, decided: np.ndarray) -> float:
        """Return the metric of labels, probabilities (N, K) and the labels decided on.

        Labels are int (N,), or bool (N, K) if images have several.
        """
        return float(self.function(labels, decided if self.needs == "labels" else probabilities))

    def measure(self, labels: np.ndarray, probabilities: np.ndarray, decided: np.ndarray) -> Measured:
        """Return the value with its interval."""
        answers = decided if self.needs == "labels" else probabilities
        value = float(self.function(labels, answers))
        low, high = self.interval(labels, answers)
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

    def show(self, value: float) -> str:
        """Return a value for display: "89.55%", "0.3456 nats", "0.8123"."""
        if math.isnan(value):
            return "undefined"
        return percent(value) if self.unit == "%" else f"{value:.4f} {self.unit}".rstrip()


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
    return Metric(function.__name__, function, partial(_label_interval, function), **facts)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, _share_interval, unit="%"),
        _of_labels(balanced_accuracy, unit="%"),
        Metric(
            "log_loss",
            log_loss,
            lambda labels, probabilities: bootstrap_mean(log_losses(labels, probabilities)),
            needs="probabilities",
            greater_is_better=False,
            bounds=(0.0, math.inf),
            unit="nats",
        ),
        Metric("auc", auc, auc_interval, needs="probabilities"),
        _of_labels(f1_macro),
        Metric("f1_micro", f1_micro, _share_interval),
        _of_labels(qwk, bounds=(-1.0, 1.0), is_ordinal=True),
        Metric(
            "map@5",
            map_at_5,
            lambda labels, probabilities: bootstrap_mean(precisions_at_5(labels, probabilities)),
            needs="ranking",
        ),
        _of_labels(mcc, bounds=(-1.0, 1.0)),
    )
}


def _of_images(function: Callable[..., float], each: Callable[..., np.ndarray], **facts: Any) -> Metric:
    """Return a metric that is the mean of one value per image, `each`."""
    return Metric(function.__name__, function, lambda labels, answers: bootstrap_mean(each(labels, answers)), **facts)


def _sums_interval(function: Callable[..., float], labels: np.ndarray, decided: np.ndarray) -> Interval:
    """Bootstrap a metric of several labels that takes weights."""
    values = [function(labels, decided, sample) for sample in resamples(len(labels))]
    return bias_corrected(function(labels, decided), np.array(values))


# The metrics of images with several labels. Those of one label with the same name are their special cases.
MULTI_METRICS = {
    metric.name: metric
    for metric in (
        _of_images(several.f1_samples, several.f_of_images),
        _of_images(several.f2_samples, lambda labels, decided: several.f_of_images(labels, decided, 2.0)),
        Metric("f1_macro", several.f1_macro, partial(_sums_interval, several.f1_macro)),
        Metric("f1_micro", several.f1_micro, partial(_sums_interval, several.f1_micro)),
        Metric(
            "exact_match",
            several.exact_match,
            lambda labels, decided: wilson_interval(int(several.exact_matches(labels, decided).sum()), len(labels)),
            unit="%",
        ),
        _of_images(
            several.hamming_loss,
            lambda labels, decided: (labels != decided).mean(axis=1),
            greater_is_better=False,
        ),
        Metric("auc", several.auc, several.auc_interval, needs="probabilities"),
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

MetricLike = str | Metric | Callable[[np.ndarray, np.ndarray], float]


def metric_of(metric: MetricLike, kind: str = "single") -> Metric:
    """Return the Metric for a name, a callable or a Metric. kind: that of the Task, "single" or "multi".

    For a callable (labels, probabilities) -> float, higher values are better; for the opposite, or to score decided
    labels, pass a Metric. Raises SnellenError for an unknown name.
    """
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        name = getattr(metric, "__name__", "metric")
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
