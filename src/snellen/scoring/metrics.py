"""The metrics by name, each with its inputs, its direction and its interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from snellen.errors import DataError, SnellenError, did_you_mean, first_few
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
from snellen.scoring.intervals import RESAMPLES, Interval, bootstrap_interval, bootstrap_mean, wilson_interval
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
        """Return the metric of labels (N,), probabilities (N, K) and the labels decided on (N,)."""
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

MetricLike = str | Metric | Callable[[np.ndarray, np.ndarray], float]


def metric_of(metric: MetricLike) -> Metric:
    """Return the Metric for a name, a callable or a Metric.

    For a callable (labels, probabilities) -> float, higher values are better; for the opposite, or to score decided
    labels, pass a Metric. Raises SnellenError for an unknown name.
    """
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        name = getattr(metric, "__name__", "metric")
        bounds = (-math.inf, math.inf)
        return Metric(name, metric, partial(_rows_interval, metric), needs="probabilities", bounds=bounds)
    if metric not in METRICS:
        raise SnellenError(
            f'unknown metric "{metric}".',
            where=f"--metric {metric}",
            expected=", ".join(METRICS),
            do=did_you_mean(metric, METRICS, "choose one of these"),
        )
    return METRICS[metric]


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
